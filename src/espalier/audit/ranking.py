"""Does a score put right answers above wrong ones? And does it see more than their length?

Intervals draw whole problems, since responses to one prompt are alike; see `espalier.audit.intervals`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from espalier.audit.intervals import LEVEL, RESAMPLES, Interval, bootstrap, mean
from espalier.errors import AuditError


def auc(
    scores: Float[ndarray, "items"],
    labels: Bool[ndarray, "items"],
    problems: Int[ndarray, "items"],
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The probability that a right answer scores above a wrong one, ties counting half; 0.5 is guessing.

    The area under the ROC curve, as the Mann-Whitney statistic. Pairs are taken across all problems, so that a scorer
    which only knows hard problems from easy ones does well too; see `ranking_accuracy`.

    Raises:
        AuditError: all labels are the same.
    """
    if labels.all() or not labels.any():
        raise AuditError(f"an AUC needs right and wrong answers, found {labels.sum()} right of {len(labels)}")
    below = _Midranks(scores)

    def statistic(weights: Float[ndarray, "resamples items"]) -> Float[ndarray, "resamples"]:
        right, wrong = weights * labels, weights * ~labels
        pairs = right.sum(1) * wrong.sum(1)
        above = (right * below(wrong)).sum(1)
        return np.divide(above, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)

    return bootstrap(statistic, problems, level=level, seed=seed, resamples=resamples)


def ranking_accuracy(
    scores: Float[ndarray, "items"],
    labels: Bool[ndarray, "items"],
    problems: Int[ndarray, "items"],
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The same probability for two answers to the *same* problem, averaged over problems: what best-of-n lives on.

    Problems with only right or only wrong answers have no such pair; they are counted as missing.

    Raises:
        AuditError: fewer than two problems have both.
    """
    shares: list[float | None] = []
    for problem in np.unique(problems):
        here = problems == problem
        right, wrong = scores[here & labels], scores[here & ~labels]
        difference = right[:, None] - wrong[None, :]
        shares.append(float(np.mean((difference > 0) + (difference == 0) / 2)) if difference.size else None)
    return mean(shares, level=level, seed=seed)


def rank_correlation(
    x: Float[ndarray, "items"],
    y: Float[ndarray, "items"],
    problems: Int[ndarray, "items"],
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Spearman's correlation: 1 where y always grows with x, 0 where they are unrelated.

    Raises:
        AuditError: all x or all y are the same.
    """
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise AuditError("a rank correlation needs values that differ")
    ranks_x, ranks_y = _Midranks(x), _Midranks(y)

    def statistic(weights: Float[ndarray, "resamples items"]) -> Float[ndarray, "resamples"]:
        total = weights.sum(1, keepdims=True)
        a, b = ranks_x(weights), ranks_y(weights)
        a = a - (weights * a).sum(1, keepdims=True) / total
        b = b - (weights * b).sum(1, keepdims=True) / total
        norm = np.sqrt((weights * a * a).sum(1) * (weights * b * b).sum(1))
        return np.divide((weights * a * b).sum(1), norm, out=np.full(len(weights), np.nan), where=norm > 0)

    return bootstrap(statistic, problems, level=level, seed=seed, resamples=resamples)


class _Midranks:
    """For each item, the weight of all items below it plus half the weight of its equals, for many weightings at
    once."""

    def __init__(self, values: Float[ndarray, "items"]) -> None:
        self.order = np.argsort(values, kind="stable")
        distinct, self.place = np.unique(values, return_inverse=True)
        self.starts = np.searchsorted(values[self.order], distinct)

    def __call__(self, weights: Float[ndarray, "resamples items"]) -> Float[ndarray, "resamples items"]:
        equal = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        return (np.cumsum(equal, axis=1) - equal / 2)[:, self.place]
