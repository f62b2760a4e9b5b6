"""The pairs that together say most about a log-linear policy: greedy D-optimal design, one rank-one update a pair.

Kveton et al. 2025 (arXiv 2503.01076). With the policy linear in its last layer, the Hessian of DPO's loss is

    sum over pairs of  v v^T,   v = beta * sqrt(p (1 - p)) * (features(first) - features(second)),

where p is the probability that the policy gives the first response's win (lemma 1). A design of a large determinant
leaves no direction of the logits uncertain. The next pair is the one of the greatest `v^T H^-1 v` (equation 10), and
`H^-1` follows by Sherman and Morrison's formula.

    ADPO    labels come as pairs are chosen: fit, take `information(...)` of the fit, `d_optimal(..., design=design)`
            for the next few, have them labelled, and again (algorithm 1)
    ADPO+   all labels are there and training is what costs: fit on all, then choose once (algorithm 2)
    APO     `d_optimal(differences, ...)`: the design of a linear model (Das et al. 2024, arXiv 2402.10500)
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Float, Int

from espalier.curation.take import noted
from espalier.errors import ConfigError
from espalier.trees import Forest, Node


class Design:
    """The information in the pairs so far: `H = ridge * I + sum v v^T`, by its inverse and its determinant.

    >>> design = Design(2, ridge=1.0)
    >>> _ = design.add(np.array([1.0, 0.0]))
    >>> design.gains(np.array([[1.0, 0.0], [0.0, 1.0]])).tolist()  # v^T H^-1 v: the new direction tells more
    [0.5, 1.0]

    Attributes:
        inverse: of H.
        logdet: of H, in nats.
    """

    def __init__(self, dimensions: int, ridge: float = 1.0) -> None:
        if ridge <= 0:
            raise ConfigError(f"ridge = {ridge}: must be above 0, or the empty design has no inverse")
        self.inverse: Float[np.ndarray, "dimensions dimensions"] = np.eye(dimensions) / ridge
        self.logdet = dimensions * float(np.log(ridge))

    def gains(self, vectors: Float[np.ndarray, "pairs dimensions"]) -> Float[np.ndarray, "pairs"]:
        """`v^T H^-1 v` of each; adding v raises the log-determinant by `log(1 + v^T H^-1 v)`."""
        return ((vectors @ self.inverse) * vectors).sum(-1)

    def add(self, vector: Float[np.ndarray, "dimensions"]) -> Float[np.ndarray, "dimensions"]:
        """Take v in. Returns u, with which the gain of every other w has fallen by `(w . u)^2`."""
        turned = self.inverse @ vector
        gain = float(vector @ turned)
        update = turned / np.sqrt(1 + gain)
        self.inverse = self.inverse - np.outer(update, update)
        self.logdet += float(np.log1p(gain))
        return update


def information(
    differences: Float[np.ndarray, "pairs dimensions"], logits: Float[np.ndarray, "pairs"], beta: float
) -> Float[np.ndarray, "pairs dimensions"]:
    """The v of each pair: a Fisher information of `v v^T` about the policy's last layer.

    Args:
        differences: the features of the first response less those of the second.
        logits: the policy's implicit reward of the first less that of the second, `beta * log(policy / reference)`.
    """
    wins = 1 / (1 + np.exp(-np.asarray(logits)))
    return beta * np.sqrt(wins * (1 - wins))[:, None] * differences


def d_optimal(
    vectors: Float[np.ndarray, "pairs dimensions"],
    count: int,
    design: Design | None = None,
    without: Collection[int] = (),
) -> Int[np.ndarray, "count"]:
    """The pairs that a greedy design takes next, in order; at most as many as are left. O(pairs * dimensions) each.

    Args:
        design: the information so far, added to in place; None starts anew.
        without: pairs that were taken before.
    """
    design = design or Design(vectors.shape[1])
    gains = design.gains(vectors)
    gains[list(without)] = -np.inf
    chosen: list[int] = []
    for _ in range(min(count, len(vectors) - len(set(without)))):
        best = int(gains.argmax())
        gains -= (vectors @ design.add(vectors[best])) ** 2
        gains[best] = -np.inf
        chosen.append(best)
    return np.array(chosen, dtype=np.int64)


def most_informative(
    forest: Forest,
    features: Callable[[Node], Float[np.ndarray, "dimensions"]],
    count: int,
    by: str | None = None,
    beta: float = 1.0,
    ridge: float = 1.0,
) -> Forest:
    """The trees whose first two responses make the D-optimal set; the rank at which each came is noted as "d-optimal".

    Args:
        features: of a response, such as `last_hidden(model, forest)`.
        by: the score of the leaves whose difference is the logit (`espalier.scorers.ImplicitReward`); None leaves the
            logits out. A tree without it, or with one response, cannot be chosen.
        beta: of the implicit reward.
        ridge: of the empty design; small beside the squared length of a difference.
    """
    offers = []
    for tree in forest:
        leaves = tree.leaves()[:2]
        values = [0.0 if by is None else leaf.value(by) for leaf in leaves]
        if len(leaves) == 2 and None not in values:
            offers.append((tree, features(leaves[0]) - features(leaves[1]), values[0] - values[1]))  # type: ignore[operator]
    if not offers:
        return Forest([])
    vectors = np.stack([difference for _, difference, _ in offers]).astype(float)
    if by is not None:
        vectors = information(vectors, np.array([logit for *_, logit in offers]), beta)
    order = d_optimal(vectors, count, Design(vectors.shape[1], ridge))
    ranks = {int(place): rank for rank, place in enumerate(order)}
    return Forest([noted(offers[place][0].copy(), "d-optimal", ranks[place]) for place in sorted(ranks)])
