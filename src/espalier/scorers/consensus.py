"""Choose among programs by tests that may be wrong themselves: from nothing but which program passes which test.

Programs that pass the same tests form a group, and groups are scored. CodeT: Chen et al. 2022, arXiv:2207.10397;
MBR-exec: Shi et al. 2022, arXiv:2204.11454; B4: Chen et al. 2024, arXiv:2409.08692. Or programs and tests judge each
other (CodeDPO: Zhang et al. 2024, arXiv:2410.05605, section 3.2). `pass_matrix` gives the matrix.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import betaln

from espalier.errors import ConfigError

Passes = Bool[np.ndarray, "programs tests"]
Scores = Float[np.ndarray, "programs"]
"""Higher is better; programs of one group have one score."""


def max_pass(passes: Passes) -> Scores:
    """How many tests a program passes."""
    return _checked(passes).sum(1).astype(float)


def mbr_exec(passes: Passes) -> Scores:
    """How many programs pass the same tests as this one."""
    _, group, sizes = _groups(passes)
    return sizes[group].astype(float)


def codet(passes: Passes) -> Scores:
    """The tests of a group times the square root of its programs."""
    kinds, group, sizes = _groups(passes)
    return (kinds.sum(1) * np.sqrt(sizes))[group]


def b4(passes: Passes, *, prior: float = 10.0, passing: float = 10.0) -> Scores:
    """The log-posterior, up to a constant, that a group and the tests it passes are exactly what is right.

    A right program passes the right tests and no other; a wrong one passes each right test with one unknown
    probability, and each wrong test with another. These two, and the shares of right programs and right tests, are
    integrated out under Beta priors: four Beta functions (equation 11).

    Args:
        prior: the shares have the prior Beta(prior, 1): above 1, larger groups and more tests are likelier to be right.
        passing: that a wrong program passes a wrong test has the prior Beta(1, passing): above 1, it seldom does.

    Raises:
        ConfigError: a prior that is not positive.
    """
    if not (prior > 0 and passing > 0):
        raise ConfigError(f"the priors of b4 must be positive, found prior={prior} and passing={passing}")
    kinds, group, sizes = _groups(passes)
    programs, tests = passes.shape
    scores = []
    for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        wrong, right = passes[group != number], int(kind.sum())
        on_right, on_wrong = int(wrong[:, kind].sum()), int(wrong[:, ~kind].sum())
        scores.append(
            betaln(size + prior, programs - size + 1)
            + betaln(right + prior, tests - right + 1)
            + betaln(on_right + 1, len(wrong) * right - on_right + 1)
            + betaln(on_wrong + 1, len(wrong) * (tests - right) - on_wrong + passing)
        )
    return np.array(scores)[group]


def mutual_ranking(
    passes: Passes, damping: float = 0.85, rounds: int = 10
) -> tuple[Scores, Float[np.ndarray, "tests"]]:
    """How far each program and each test is to be trusted (CodeDPO); the highest trust is 1, and only ratios count.

    A program is trusted that passes trusted tests, and a test that trusted programs pass. From equal trust the scores
    are passed to and fro over the matrix, as PageRank does over links:

        program <- (1 - damping) * program + damping * sum of the trust of the tests that it passes

    and the same for tests, both from the round before.

    Raises:
        ConfigError: no program or no test.

    >>> passes = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)  # the third test is wrong, as is its program
    >>> programs, tests = mutual_ranking(passes)
    >>> programs.argmin(), tests.argmin()
    (np.int64(2), np.int64(2))
    """
    links = _checked(passes).astype(float)
    if not links.size:
        raise ConfigError(f"a mutual ranking needs programs and tests, found shape {links.shape}")
    programs, tests = np.ones(links.shape[0]), np.ones(links.shape[1])
    for _ in range(rounds):
        programs, tests = (
            (1 - damping) * programs + damping * links @ tests,
            (1 - damping) * tests + damping * programs @ links,
        )
        scale = max(programs.max(), tests.max())  # of both together: the update is linear, so no order changes
        programs, tests = programs / scale, tests / scale
    return programs, tests


def _groups(passes: Passes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each group passes, the group of each program, and the sizes of groups."""
    kinds, group, sizes = np.unique(_checked(passes), axis=0, return_inverse=True, return_counts=True)
    return kinds, group.reshape(-1), sizes


def _checked(passes: Passes) -> Passes:
    if passes.ndim != 2 or passes.dtype != bool or not len(passes):
        raise ConfigError(f"expected booleans, programs x tests, found {passes.dtype} of shape {passes.shape}")
    return passes
