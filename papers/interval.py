"""How sure a figure is: Student's interval over seeds, since with five of them a bootstrap is a third too narrow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from espalier.audit import Interval, proportion

Runs = Sequence[Mapping[str, float]]
"""The figures that each seed measured."""


def interval(values: Sequence[float]) -> Interval:
    """The mean over seeds, with its 95 % interval; of True and False their share, with the exact binomial interval.

    >>> print(interval([1.0, 2.0, 3.0]))
    2.000 [-0.484, 4.484]
    >>> print(interval([True, True, True]))
    1.000 [0.292, 1.000]
    """
    if all(isinstance(value, bool) for value in values):
        return proportion(np.asarray(values))
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf, n, method="one seed")
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return Interval(mean, mean - half, mean + half, n, method="Student t over seeds")
