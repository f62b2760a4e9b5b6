"""Learning-rate schedules: a linear warm-up, then cosine, linear or constant."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int,
    total: int,
    *,
    peak: float,
    warmup: float,
    shape: Literal["cosine", "linear", "constant"],
    final: float = 0.0,
) -> float:
    """The learning rate of step `step` (from 0) of `total`.

    It rises linearly over the first `warmup * total` steps, then falls to `final * peak` at the last step.

    >>> [learning_rate(s, 5, peak=1.0, warmup=0.2, shape="linear") for s in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    rising = round(warmup * total)
    if step < rising:
        return peak * (step + 1) / rising
    start = max(rising - 1, 0)
    done = (step - start) / max(total - 1 - start, 1)
    if shape == "constant":
        left = 1.0
    elif shape == "linear":
        left = 1.0 - done
    else:
        left = 0.5 * (1.0 + math.cos(math.pi * done))
    return peak * (final + (1.0 - final) * left)
