"""Intervals: no number leaves the audit without how far it can be trusted.

Two mechanisms. A proportion of yes/no outcomes gets the exact binomial interval (Clopper and Pearson 1934), on an
effective sample size where outcomes come in clusters (Korn and Graubard 1998). Everything else gets the bias-corrected
percentile bootstrap (Efron 1981), which draws whole clusters: responses to one prompt are alike, and counting them as
independent makes every interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy import stats

from espalier.errors import AuditError

LEVEL = 0.95
RESAMPLES = 2000

Statistic = Callable[[Float[ndarray, "resamples items"]], Float[ndarray, "resamples"]]
"""From how often each item was drawn, in each of many resamples, to the statistic of each; NaN where it has none."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        estimate: the point estimate.
        low: lower end.
        high: upper end.
        n: how many independent units (problems, mostly) it rests on.
        missing: how many units were left out because nothing was known of them.
        level: the share of such intervals that hold the truth.
        method: how the interval was made.

    >>> print(Interval(0.637, 0.618, 0.6561, n=880))
    0.637 [0.618, 0.656]
    """

    estimate: float
    low: float
    high: float
    n: int
    missing: int = 0
    level: float = LEVEL
    method: str = ""

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def excludes(self, value: float = 0.0) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def proportion(
    outcomes: Bool[ndarray, "items"],
    clusters: Int[ndarray, "items"] | None = None,
    *,
    level: float = LEVEL,
    missing: int = 0,
) -> Interval:
    """The share of yes, with the exact binomial interval.

    Args:
        outcomes: yes or no, one an item.
        clusters: a number for each item, the same for items that are alike (responses to one prompt); the interval then
            rests on the number of independent items that would have the same variance, or on the number of clusters
            where every outcome is the same. None: the items are independent.
        level: of the interval.
        missing: to be noted on the interval.

    Raises:
        AuditError: no outcome.
    """
    n = len(outcomes)
    if n == 0:
        raise AuditError(f"a proportion needs at least one known outcome, found none ({missing} missing)")
    share = float(np.mean(outcomes))
    units, size, method = n, float(n), "Clopper-Pearson"
    if clusters is not None:
        _, index = np.unique(clusters, return_inverse=True)
        units, method = int(index.max()) + 1, "Korn-Graubard"
        size = _effective_size(outcomes, index, units, level)
    tail, yes = (1 - level) / 2, share * size
    low = 0.0 if share == 0 else float(stats.beta.ppf(tail, yes, size - yes + 1))
    high = 1.0 if share == 1 else float(stats.beta.ppf(1 - tail, yes + 1, size - yes))
    return Interval(share, low, high, units, missing, level, method)


def _effective_size(outcomes: Bool[ndarray, "items"], index: Int[ndarray, "items"], units: int, level: float) -> float:
    n, share = len(outcomes), np.mean(outcomes)
    if units == 1 or share in (0, 1):
        return float(units)
    residuals = np.bincount(index, outcomes - share)
    variance = units / (units - 1) * np.sum(residuals**2) / n**2
    if variance == 0:
        return float(units)
    few = stats.t.ppf((1 + level) / 2, n - 1) / stats.t.ppf((1 + level) / 2, units - 1)
    return float(min(share * (1 - share) / variance * few**2, n))


def mean(
    values: Sequence[float | None] | Float[ndarray, "items"],
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean of one value a problem, None (or NaN) where missing.

    Exact binomial where all values are 0 or 1, otherwise the bootstrap over problems.

    Raises:
        AuditError: no value is known, or only one that is neither 0 nor 1.
    """
    array = np.array(values, dtype=float)
    known = array[~np.isnan(array)]
    missing = len(array) - len(known)
    if np.isin(known, (0, 1)).all():
        return proportion(known == 1, level=level, missing=missing)
    return bootstrap(
        lambda weights: weights @ known / weights.sum(1),
        np.arange(len(known)),
        level=level,
        seed=seed,
        resamples=resamples,
        missing=missing,
    )


def bootstrap(
    statistic: Statistic,
    clusters: Int[ndarray, "items"],
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
    missing: int = 0,
) -> Interval:
    """The bias-corrected percentile bootstrap of a statistic of weighted items, drawing whole clusters.

    Resamples that have no value (an AUC when only one class was drawn) are left out.

    Raises:
        AuditError: fewer than two clusters: they say nothing about the spread between clusters.
    """
    names, index = np.unique(clusters, return_inverse=True)
    units = len(names)
    if units < 2:
        raise AuditError(f"an interval over problems needs at least 2 of them, found {units} ({missing} missing)")
    estimate = float(statistic(np.ones((1, len(index))))[0])
    rng = np.random.default_rng(seed)
    chunk = max(1, 1_000_000 // len(index))  # bounds the memory of a statistic over many items
    drawn = np.concatenate(
        [
            statistic(rng.multinomial(units, np.full(units, 1 / units), size).astype(float)[:, index])
            for size in _chunks(resamples, chunk)
        ]
    )
    drawn = drawn[~np.isnan(drawn)]
    below = np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / (resamples + 1), resamples / (resamples + 1)))
    tails = stats.norm.cdf(2 * bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(drawn, tails)
    return Interval(estimate, float(low), float(high), units, missing, level, "bias-corrected bootstrap")


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
