"""Which pairs to have labelled, or to train on, by how far apart some model already sees their two responses.

One family, whose members differ in the end of the ranking that they take:

    small margins   Yang et al. 2024, arXiv 2406.17312: ask where the policy is unsure
    large margins   Muldrew et al. 2024, arXiv 2402.08114: ask where it is certain, among the prompts of the highest
                    predictive entropy

The implicit reward is `beta * log(policy / reference)` (`espalier.scorers.ImplicitReward`). A pair carries information
`p (1 - p) |difference of features|^2` about a policy: small margins have the first factor, large ones the second. The
papers P165 and P188 in `papers/data/` measure when which of them matters.
"""

from __future__ import annotations

from itertools import combinations
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from espalier.curation.take import how_many, noted, only
from espalier.errors import ConfigError
from espalier.trees import Forest

Prefer = Literal["small", "large", "both"]
"""Of margins without sign: small ones first, large ones first, or the smallest and the largest in turn."""


def by_margin(margins: Float[np.ndarray, "pairs"], prefer: Prefer) -> Int[np.ndarray, "pairs"]:
    """The order in which to take the pairs; signs do not count.

    >>> by_margin(np.array([0.3, -2.0, 0.1, 1.0]), "both").tolist()
    [2, 1, 0, 3]

    Raises:
        ConfigError: an unknown preference.
    """
    if prefer not in get_args(Prefer):
        raise ConfigError(f"prefer = {prefer!r}; expected one of {', '.join(get_args(Prefer))}")
    rising = np.argsort(np.abs(margins), kind="stable")
    if prefer == "both":
        return np.stack([rising, rising[::-1]], 1).ravel()[: len(rising)]
    return rising if prefer == "small" else rising[::-1].copy()


def certainty(margins: Float[np.ndarray, "pairs"]) -> Float[np.ndarray, "pairs"]:
    """How sure the implicit preference model is of either order, 0 to 1: `|2 sigmoid(margin) - 1|`.

    It ranks pairs as `|margin|` does (Muldrew et al. 2024).
    """
    return np.abs(np.tanh(np.asarray(margins) / 2))


def certain_among_uncertain(
    entropy: Float[np.ndarray, "prompts"], margins: Float[np.ndarray, "prompts"], prompts: int, count: int
) -> Int[np.ndarray, "count"]:
    """First the prompts of the greatest entropy, then among them the pairs of the largest margins.

    Muldrew et al. 2024: the generator should be unsure, the implicit preference model sure.

    Args:
        margins: of the pair that each prompt offers.
        prompts: how many go through the first sieve.
        count: how many of those are taken.
    """
    open_ended = np.argsort(-np.asarray(entropy), kind="stable")[:prompts]
    return open_ended[by_margin(np.asarray(margins)[open_ended], "large")[:count]]


def acquire(forest: Forest, by: str = "implicit", keep: float = 0.5, prefer: Prefer = "small") -> Forest:
    """The pairs to have labelled: one a tree, then the best of all trees, ranked by their margins.

    Both levels of Yang et al. 2024: of the responses to a prompt the two of the smallest (or largest)
    margin, then the prompts whose pairs rank first. With "both" the trees alternate between the two choices.
    After `uncertain(forest, keep)`, with large margins, it is Muldrew et al.'s rule. A response without the score is in
    no pair. The margin is noted as `tree.meta["curation"]["margin"]`.

    Args:
        by: a score of the leaves.
        keep: a share of the prompts that have a pair, or a number of pairs.
    """
    found = []
    for number, tree in enumerate(forest):
        side = ("small", "large")[number % 2] if prefer == "both" else prefer
        scored = [(leaf, value) for leaf in tree.leaves() if (value := leaf.value(by)) is not None]
        offers = list(combinations(scored, 2))
        if offers:
            margins = np.array([first[1] - second[1] for first, second in offers])
            best = int(by_margin(margins, side)[0])
            found.append((only(tree, [leaf for leaf, _ in offers[best]]), float(abs(margins[best]))))
    if not found:
        return Forest([])
    order = by_margin(np.array([margin for _, margin in found]), prefer)[: how_many(keep, len(found))]
    return Forest([noted(found[i][0], "margin", found[i][1]) for i in sorted(order)])
