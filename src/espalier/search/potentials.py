"""Feynman-Kac potentials: how the scores on the way weigh a particle that has not arrived yet.

The weight of a particle is a product of factors, one a round. Each function here gives the log of the product so far,
in units of the score. The ends that a sampler should arrive at have probability p(x) * exp(score(x) / temperature); a
potential leads there exactly if its product over a whole path is the score of the end, whatever it is on the way
(Singhal et al. 2025, "Feynman-Kac steering", arXiv 2501.06848, section 3). `difference`, `peak` and `total` do.
`last` does not: it weighs a path by the product of all its steps' scores, each taken as the likelihood that the step is
right (Puri et al. 2025, arXiv 2502.01618).

Where the score is itself the chance to come out right, `chance` leads to policy times chance: what the policy would say
if it were known to be right (Zhao et al. 2024, "twisted sequential Monte Carlo", arXiv 2404.17546, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate

Potential = Callable[[Sequence[float], bool, int], float]
"""From a particle's scores, step by step, whether it has ended, and the number of rounds: the log of its weight."""


def last(scores: Sequence[float], ended: bool, rounds: int) -> float:
    """Each round weighs by the newest score; one that has ended is weighed by its last in each round that follows.

    >>> last([0.5, 0.25], True, 4)
    1.25
    """
    return sum(scores) + (rounds - len(scores)) * scores[-1]


def difference(scores: Sequence[float], ended: bool, rounds: int) -> float:
    """Each round weighs by the gain in score: right where the score of a prefix forecasts that of its ends.

    >>> difference([0.5, 0.25], False, 2)
    0.25
    """
    return scores[-1]


def chance(scores: Sequence[float], ended: bool, rounds: int) -> float:
    """Each round weighs by the change in chance; made for a temperature of 1. What has no chance dies.

    >>> math.exp(chance([0.5, 0.25], False, 2))
    0.25
    """
    return math.log(scores[-1]) if scores[-1] > 0 else -math.inf


def peak(scores: Sequence[float], ended: bool, rounds: int) -> float:
    """Each round weighs by the highest score so far; the end settles the account.

    >>> peak([0.5, 0.25], False, 2), peak([0.5, 0.25], True, 2)
    (1.0, 0.25)
    """
    return scores[-1] if ended else sum(accumulate(scores, max))


def total(scores: Sequence[float], ended: bool, rounds: int) -> float:
    """Each round weighs by the sum of the scores so far; the end settles the account.

    >>> total([0.5, 0.25], False, 2), total([0.5, 0.25], True, 2)
    (1.25, 0.25)
    """
    return scores[-1] if ended else sum(accumulate(scores))
