from __future__ import annotations

import json
from math import comb

import numpy as np
import pytest

from espalier.audit import compare, paired

from .forests import correct, forest_of


def by_id(values: list[float | None]) -> dict[str, float | None]:
    return {f"p{i}": value for i, value in enumerate(values)}


def test_difference_and_counts_by_hand() -> None:
    result = paired(by_id([1, 1, 0, 0, 0]), by_id([1, 0, 1, 1, 0]))
    assert (result.a.estimate, result.b.estimate) == (0.4, 0.6)
    assert result.difference.estimate == pytest.approx(0.2)
    assert (result.b_better, result.a_better, result.ties) == (2, 1, 2)


def test_problems_are_matched_by_id_not_by_order() -> None:
    a, b = by_id([1, 0, 1, 0]), by_id([0, 1, 0, 1])
    shuffled = {key: b[key] for key in reversed(b)}
    assert paired(a, shuffled) == paired(a, b)


def test_missing_on_either_side_is_left_out_of_both() -> None:
    result = paired(by_id([1, None, 0, 1]), by_id([1, 1, None, 0]))
    assert (result.difference.n, result.difference.missing) == (2, 2)
    assert (result.a.estimate, result.b.estimate) == (1.0, 0.5)


def test_different_problems_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"1 are only in A \['q'\], 2 only in B \['r', 's'\]"):
        paired({"p": 1, "q": 1}, {"p": 1, "r": 0, "s": 0})


def test_too_few_common_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 problems known to both, found 1 of 2"):
        paired(by_id([1, None]), by_id([1, 1]))


@pytest.mark.parametrize(("wins", "losses"), [(6, 1), (5, 0), (40, 20)])
def test_p_value_on_yes_and_no_is_mcnemars(wins: int, losses: int) -> None:
    result = paired(by_id([0] * wins + [1] * losses + [1] * 9), by_id([1] * wins + [0] * losses + [1] * 9))
    n = wins + losses
    exact = min(1.0, 2 * sum(comb(n, i) for i in range(losses + 1)) / 2**n)
    assert result.p_value == pytest.approx(exact, abs=1e-12 if n <= 12 else 0.004)


def test_two_equal_results_differ_by_nothing() -> None:
    result = paired(by_id([1, 0, 1]), by_id([1, 0, 1]))
    assert result.p_value == 1.0
    assert not result.difference.excludes(0)


def test_pairing_sees_a_small_gain_that_hard_and_easy_problems_would_hide() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random(200)
    result = paired(by_id(difficulty.tolist()), by_id((difficulty + 0.02 + 0.01 * rng.normal(size=200)).tolist()))
    assert result.difference.excludes(0)
    assert result.p_value < 0.001
    assert result.a.high > result.b.low  # side by side, the intervals overlap


def test_the_interval_of_no_difference_excludes_zero_one_time_in_twenty() -> None:
    rng = np.random.default_rng(0)
    false = [
        paired(by_id(list(rng.integers(2, size=60))), by_id(list(rng.integers(2, size=60))), resamples=300, seed=i)
        for i in range(200)
    ]
    assert 0.01 <= np.mean([result.difference.excludes(0) for result in false]) <= 0.10
    assert np.mean([result.p_value <= 0.05 for result in false]) <= 0.08


def test_compare_reads_forests() -> None:
    before, after = forest_of([correct(0, 1), correct(0)]), forest_of([correct(1), correct(0, 1)])
    result = compare(before, after)
    assert result.difference.estimate == pytest.approx(0.5)
    assert json.loads(json.dumps(result.to_dict()))["b_better"] == 2
    assert str(result).startswith("+0.500 [")
