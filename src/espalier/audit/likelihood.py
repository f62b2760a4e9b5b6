"""Does the policy's likelihood know what is good? The diagnostic that says which decoder a task needs.

Josifoski et al. 2023 (arXiv 2210.07228): where the likelihood of a response goes with its utility, decoders that seek
likely responses (greedy, beam) find good ones; where it does not, a value must guide, or many samples must be judged.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from espalier.audit.accuracy import ends
from espalier.audit.intervals import LEVEL, Interval, bootstrap
from espalier.errors import AuditError
from espalier.trees import Forest, Node


def likelihood_utility(
    forest: Forest, by: str = "correct", *, per_token: bool = False, level: float = LEVEL, seed: int = 0
) -> Interval:
    """The mean over problems of the rank correlation between the log-likelihood of responses and their score.

    From -1 to 1: near 1 seek likely responses; near 0 or below, likelihood misleads. Problems whose responses all have
    the same score or likelihood tell nothing, and are counted as missing.

    Args:
        by: the score that is the utility.
        per_token: the mean log-prob of a token instead of the sum.

    Raises:
        AuditError: fewer than two problems tell something.
    """
    found = [_correlation(ends(tree), by, per_token) for tree in forest]
    known = np.array([value for value in found if value is not None])
    if len(known) < 2:
        raise AuditError(
            f"a likelihood-utility correlation needs 2 problems with responses of different {by!r} and log-probs, "
            f"found {len(known)} of {len(found)}; sample more responses of each"
        )
    return bootstrap(
        lambda weights: weights @ known / weights.sum(1),
        np.arange(len(known)),
        level=level,
        seed=seed,
        missing=len(found) - len(known),
    )


def _correlation(leaves: list[Node], by: str, per_token: bool) -> float | None:
    pairs = [
        (likelihood, value)
        for leaf in leaves
        if (value := leaf.value(by)) is not None and (likelihood := _likelihood(leaf, per_token)) is not None
    ]
    if len({likelihood for likelihood, _ in pairs}) < 2 or len({value for _, value in pairs}) < 2:
        return None
    likelihoods, values = zip(*pairs, strict=True)
    return float(stats.spearmanr(likelihoods, values).statistic)


def _likelihood(leaf: Node, per_token: bool) -> float | None:
    steps = [step for step in leaf.path() if step.author == "policy"]
    if any(step.logprobs is None for step in steps):
        return None
    logprobs = [value for step in steps for value in step.logprobs or ()]
    return math.fsum(logprobs) / (max(1, len(logprobs)) if per_token else 1)
