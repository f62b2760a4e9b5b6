"""Is B better than A? Both on the same problems, so that the problems' own difficulty cancels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.audit.accuracy import outcomes
from espalier.audit.intervals import LEVEL, RESAMPLES, Interval, bootstrap, mean
from espalier.errors import AuditError
from espalier.trees import Forest

if TYPE_CHECKING:
    from espalier.search.base import Found

FLIPS = 10_000


@dataclass(frozen=True, slots=True)
class Paired:
    """Two results on the same problems.

    Attributes:
        a: the mean of A, over the problems where both are known.
        b: the mean of B.
        difference: B minus A; above 0 where B is better. When its interval excludes 0, the difference is not luck.
        p_value: two-sided, of the sign-flip test: how often a difference at least as large would come about if it were
            a coin toss for each problem which of the two results is A's.
        b_better: on how many problems B is better.
        a_better: and A.
        ties: and neither.
    """

    a: Interval
    b: Interval
    difference: Interval
    p_value: float
    b_better: int
    a_better: int
    ties: int

    def __str__(self) -> str:
        d = self.difference
        return f"{d.estimate:+.3f} [{d.low:+.3f}, {d.high:+.3f}] on {d.n} problems, p = {self.p_value:.2g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def paired(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Paired:
    """Compare two results problem by problem, by id. A problem where either is missing is left out and counted.

    The interval of the difference is the bootstrap over problems; the p-value is Fisher's randomisation test, which for
    outcomes of 0 and 1 is McNemar's.

    Raises:
        AuditError: the two are not on the same problems, or fewer than two problems are known to both.

    >>> print(paired({"p": 0, "q": 0, "r": 1, "s": None}, {"p": 1, "q": 1, "r": 1, "s": 1}))
    +0.667 [+0.000, +1.000] on 3 problems, p = 0.5
    """
    if a.keys() != b.keys():
        only_a, only_b = sorted(a.keys() - b.keys()), sorted(b.keys() - a.keys())
        raise AuditError(
            f"A and B must be on the same problems: {len(only_a)} are only in A {only_a[:3]}, "
            f"{len(only_b)} only in B {only_b[:3]}"
        )
    known = [(x, y) for key, x in a.items() if x is not None and (y := b[key]) is not None]
    missing = len(a) - len(known)
    if len(known) < 2:
        raise AuditError(f"a comparison needs at least 2 problems known to both, found {len(known)} of {len(a)}")
    of_a, of_b = np.array(known, dtype=float).T
    difference = of_b - of_a
    interval = bootstrap(
        lambda weights: weights @ difference / weights.sum(1),
        np.arange(len(difference)),
        level=level,
        seed=seed,
        resamples=resamples,
        missing=missing,
    )
    return Paired(
        mean(of_a, level=level, seed=seed, resamples=resamples),
        mean(of_b, level=level, seed=seed, resamples=resamples),
        interval,
        _sign_flip(difference, seed),
        int(np.sum(difference > 0)),
        int(np.sum(difference < 0)),
        int(np.sum(difference == 0)),
    )


def compare(
    a: Forest | Found, b: Forest | Found, by: str = "correct", *, level: float = LEVEL, seed: int = 0
) -> Paired:
    """Compare two policies or two strategies by their answers to the same problems.

    Raises:
        AuditError: as for `outcomes` and `paired`.
    """
    return paired(outcomes(a, by), outcomes(b, by), level=level, seed=seed)


def _sign_flip(difference: np.ndarray, seed: int) -> float:
    moved = difference[difference != 0]
    rng = np.random.default_rng(seed)
    observed, as_large = abs(moved.sum()) - 1e-9, 0
    if len(moved) <= 12:  # few enough to try every sign
        signs = 1.0 - 2.0 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
        return float(np.mean(np.abs(signs @ moved) >= observed))
    for _ in range(FLIPS // 100):
        signs = rng.choice((-1.0, 1.0), (100, len(moved)))
        as_large += int(np.sum(np.abs(signs @ moved) >= observed))
    return (1 + as_large) / (1 + FLIPS)
