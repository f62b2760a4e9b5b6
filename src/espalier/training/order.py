"""The data's order: pass after pass over all, each in an order of its own, as a function of the seed and the place."""

from __future__ import annotations

import numpy as np


def order(count: int, seed: int, first: int, size: int) -> list[int]:
    """Which `size` items come after the first `first`: pass after pass over all, each in an order of its own."""
    picked: list[int] = []
    for place in range(first, first + size):
        epoch, offset = divmod(place, count)
        if not picked or offset == 0:
            permutation = np.random.default_rng([seed, epoch]).permutation(count)
        picked.append(int(permutation[offset]))
    return picked
