"""Over-optimisation: as best-of-n picks harder by the proxy, does what is truly wanted still grow?

Gao et al. 2023 (arXiv 2210.10760) plot both rewards against the KL divergence from the sampling policy. A true curve
that flattens or falls while the proxy's climbs is the scorer being exploited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import log
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from espalier.audit.accuracy import ends
from espalier.audit.intervals import LEVEL, Interval, mean
from espalier.errors import AuditError
from espalier.trees import Forest, Tree


@dataclass(frozen=True, slots=True)
class BestOfN:
    """One point of the curve.

    Attributes:
        n: how many samples the proxy chose from.
        kl: of best-of-n from the sampling policy, in nats: `log n - (n - 1) / n`, exact where no two samples tie and an
            upper bound otherwise (Beirami et al. 2024, arXiv 2401.01879).
        proxy: the expected proxy score of the choice.
        true: its expected true score.
    """

    n: int
    kl: float
    proxy: Interval
    true: Interval

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def overoptimisation(
    forest: Forest,
    proxy: str,
    true: str = "correct",
    ns: Sequence[int] | None = None,
    *,
    level: float = LEVEL,
    seed: int = 0,
) -> list[BestOfN]:
    """Proxy and true score of best-of-n for each n, averaged over problems.

    Every point rests on the same problems: those where at least max(n) responses have both scores. The others are
    missing, and so counted in the intervals.

    Args:
        forest: sampled responses, several to a problem.
        proxy: the score that chooses.
        true: the score that is wanted.
        ns: by default 1, 2, 4, ... and the median number of responses a problem.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        AuditError: fewer than two problems have that many responses with both scores.
    """
    both = [_pairs(tree, proxy, true) for tree in forest]
    if ns is None:
        most = int(np.median([len(pairs) for pairs in both])) if both else 0
        ns = sorted({2**i for i in range(most.bit_length())} | {most} - {0})
    enough = [np.array(pairs, dtype=float).T for pairs in both if ns and len(pairs) >= max(ns)]
    if len(enough) < 2:
        raise AuditError(
            f"best-of-n up to n = {max(ns, default=0)} needs 2 problems or more with that many responses that have "
            f"both {proxy!r} and {true!r}, found {len(enough)} of {len(both)}"
        )
    lacking = [None] * (len(both) - len(enough))
    points = []
    for n in ns:
        chosen = [expected_best(pairs[0], list(pairs), n) for pairs in enough]
        of_proxy, of_true = (mean([*values, *lacking], level=level, seed=seed) for values in zip(*chosen, strict=True))
        points.append(BestOfN(n, log(n) - (n - 1) / n, of_proxy, of_true))
    return points


def _pairs(tree: Tree, proxy: str, true: str) -> list[tuple[float, float]]:
    """Both scores of each response that has them."""
    values = ((leaf.value(proxy), leaf.value(true)) for leaf in ends(tree))
    return [(p, t) for p, t in values if p is not None and t is not None]


def expected_best(by: Float[ndarray, "samples"], values: Sequence[Float[ndarray, "samples"]], n: int) -> list[float]:
    """The expected values of the sample with the highest `by` among n drawn without replacement; ties are drawn evenly.

    Exact, from order statistics: the i-th smallest of N samples is the highest of n with probability
    `C(i - 1, n - 1) / C(N, n)`. It is the unbiased estimate of best-of-n with fresh samples (Nakano et al. 2021,
    arXiv 2112.09332, appendix I).

    >>> expected_best(np.array([1.0, 2.0, 3.0]), [np.array([0.0, 1.0, 0.0])], n=2)
    [0.3333333333333333]
    """
    count = len(by)
    if not 1 <= n <= count:
        raise AuditError(f"best-of-n needs 1 <= n <= the number of samples, found n={n} of {count}")
    ranks = np.arange(count, n, -1)  # from the highest down: p[i - 1] = p[i] * (i - n) / (i - 1)
    chances = np.zeros(count)
    chances[n - 1 :] = (n / count * np.cumprod(np.concatenate([[1.0], (ranks - n) / (ranks - 1)])))[::-1]
    order = np.argsort(by, kind="stable")
    _, tied = np.unique(by[order], return_inverse=True)
    shared = (np.bincount(tied, chances) / np.bincount(tied))[tied]
    return [float(shared @ value[order]) for value in values]
