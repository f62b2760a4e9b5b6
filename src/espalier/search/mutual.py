"""Candidates and tests judge each other (Zhang et al. 2025, "CodeDPO", arXiv 2410.05605, section 3.2).

A program is trusted that passes trusted tests, and a test that trusted programs pass. From equal trust the scores are
passed to and fro over the matrix of passes, as PageRank does over links.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def mutual_ranking(
    passes: Bool[ndarray, "candidates tests"], damping: float = 0.85, rounds: int = 10
) -> tuple[Float[ndarray, "candidates"], Float[ndarray, "tests"]]:
    """How far each candidate and each test is to be trusted; the highest trust is 1.

        candidate <- (1 - damping) * candidate + damping * sum of the trust of the tests that it passes

    and the same for tests, both from the round before. Only ratios mean something.

    Raises:
        ValueError: no candidate or no test.

    >>> passes = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)  # the third test is wrong, as is its program
    >>> candidates, tests = mutual_ranking(passes)
    >>> candidates.argmin(), tests.argmin()
    (np.int64(2), np.int64(2))
    """
    links = np.asarray(passes, dtype=float)
    if links.ndim != 2 or not links.size:
        raise ValueError(f"a ranking needs a matrix of candidates by tests, found shape {links.shape}")
    candidates, tests = np.ones(links.shape[0]), np.ones(links.shape[1])
    for _ in range(rounds):
        candidates, tests = (
            (1 - damping) * candidates + damping * links @ tests,
            (1 - damping) * tests + damping * candidates @ links,
        )
        scale = max(candidates.max(), tests.max())  # of both together: the update is linear, so no order changes
        candidates, tests = candidates / scale, tests / scale
    return candidates, tests
