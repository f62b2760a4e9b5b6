from __future__ import annotations

import json
from itertools import combinations
from math import log

import numpy as np
import pytest

from espalier.audit import expected_best, overoptimisation

from .forests import forest_of


@pytest.mark.parametrize("by", [[0.1, 0.7, 0.3, 0.9, 0.5], [1, 1, 0, 0, 1], [2, 2, 2, 2, 2]])
def test_expected_best_is_the_mean_over_all_subsets(by: list[float]) -> None:
    proxy, true = np.array(by, dtype=float), np.array([0.0, 1.0, 0.5, 0.25, 0.125])
    for n in range(1, 6):
        drawn = []
        for subset in combinations(range(5), n):
            top = max(proxy[i] for i in subset)
            drawn.append(np.mean([true[i] for i in subset if proxy[i] == top]))
        assert expected_best(proxy, [true], n) == pytest.approx([np.mean(drawn)])


def test_expected_best_does_not_overflow() -> None:
    uniform = np.arange(1, 10_001) / 10_001
    assert expected_best(uniform, [uniform], 9) == pytest.approx([0.9], abs=1e-3)  # the mean of the largest of nine


def test_a_proxy_that_is_exploited_shows_a_true_score_that_turns() -> None:
    """The truth grows with the proxy up to 0.9 and collapses above."""
    rng = np.random.default_rng(0)
    problems = []
    for _ in range(40):
        proxy = rng.random(32)
        problems.append([("a", {"proxy": p, "true": p if p < 0.9 else 0.0}) for p in proxy])
    curve = {point.n: point for point in overoptimisation(forest_of(problems), "proxy", "true")}
    assert list(curve) == [1, 2, 4, 8, 16, 32]
    assert curve[1].kl == 0.0
    assert curve[4].kl == pytest.approx(log(4) - 0.75)
    assert all(curve[n].proxy.estimate < curve[2 * n].proxy.estimate for n in (1, 2, 4, 8, 16))
    assert curve[2].true.low > curve[1].true.estimate
    assert curve[32].true.high < curve[1].true.low


def test_every_point_rests_on_the_same_problems() -> None:
    full = [("a", {"v": i / 4, "correct": i % 2}) for i in range(4)]
    few = [("a", {"v": 0.1, "correct": 1}), ("a", {"v": 0.9, "correct": "timed out"})]
    curve = overoptimisation(forest_of([full, full, few]), "v", ns=[1, 4])
    assert [(point.true.n, point.true.missing) for point in curve] == [(2, 1), (2, 1)]
    assert json.loads(json.dumps(curve[0].to_dict()))["n"] == 1


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="up to n = 8 needs 2 problems or more"):
        overoptimisation(forest_of([[("a", {"v": 0.1, "correct": 1})]] * 3), "v", ns=[8])
