"""Selectors from a pass matrix give the scores of their formulas, and B4 the posterior by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import beta

from espalier.errors import ConfigError
from espalier.scorers.consensus import b4, codet, max_pass, mbr_exec, mutual_ranking

PASSES = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]], bool)


def test_the_heuristics_by_hand() -> None:
    assert max_pass(PASSES).tolist() == [2, 2, 3, 0]
    assert mbr_exec(PASSES).tolist() == [2, 2, 1, 1]
    np.testing.assert_allclose(codet(PASSES), [2 * math.sqrt(2)] * 2 + [3, 0])


def expected(over: Callable[[float], float], a: float, b: float) -> float:
    """The mean of a function of a probability with this Beta prior."""
    return quad(lambda t: over(t) * t ** (a - 1) * (1 - t) ** (b - 1) / beta(a, b), 0, 1)[0]


def test_b4_is_the_posterior_by_integration() -> None:
    prior, passing = 3.0, 2.0

    def posterior(program: int) -> float:
        x, y = (PASSES[program] == PASSES).all(1), PASSES[program]
        wrong = [(PASSES[i, j], y[j]) for i, j in product(range(4), range(4)) if not x[i]]

        def of_shares(right: np.ndarray) -> float:
            return expected(lambda t: np.prod(np.where(right, t, 1 - t)), prior, 1.0)

        def of_passes(test: bool, b: float) -> float:
            seen = np.array([passed for passed, right in wrong if right == test])
            return expected(lambda t: np.prod(np.where(seen, t, 1 - t)), 1.0, b)

        return math.log(of_shares(x) * of_shares(y) * of_passes(True, 1.0) * of_passes(False, passing))

    found = b4(PASSES, prior=prior, passing=passing)
    wanted = np.array([posterior(program) for program in range(4)])
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], rtol=1e-6, atol=1e-8)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"found int64 of shape \(2, 2\)"):
        codet(np.eye(2, dtype=int))
    with pytest.raises(ConfigError, match="must be positive"):
        b4(PASSES, prior=0.0)
    with pytest.raises(ConfigError, match=r"needs programs and tests, found shape \(2, 0\)"):
        mutual_ranking(np.zeros((2, 0), dtype=bool))


def test_trust_goes_to_the_larger_clique_and_to_whom_it_trusts() -> None:
    # Programs 0 to 2 agree on tests 0 to 2; program 3 passes the two wrong tests, which program 2 passes too.
    passes = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 1, 1]], dtype=bool)
    programs, tests = mutual_ranking(passes)
    assert list(np.argsort(-programs, kind="stable")) == [2, 0, 1, 3]
    assert tests[0] == tests[1] == tests[2] > tests[3] > tests[4]
