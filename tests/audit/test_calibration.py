from __future__ import annotations

import numpy as np
import pytest

from espalier.audit import brier, ece, ece_floor, reliability

SCORES = np.array([0.05, 0.15, 0.15, 0.95, 1.0, 0.95])
LABELS = np.array([False, True, False, True, True, False])
EACH = np.arange(6)


def calibrated(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    return scores, rng.random(n) < scores, np.arange(n)


def test_ece_of_equal_width_by_hand() -> None:
    # bins: {0.05: 0 of 1}, {0.15: 1 of 2}, {0.9667: 2 of 3}
    expected = (1 * 0.05 + 2 * 0.35 + 3 * 0.3) / 6
    assert ece(SCORES, LABELS, EACH).estimate == pytest.approx(expected)


def test_ece_of_equal_mass_by_hand() -> None:
    # two bins, the lower half and the upper: scores 0.35 with 1 right, scores 2.9 with 2 right
    assert ece(SCORES, LABELS, EACH, bins=2, binning="mass").estimate == pytest.approx((0.65 + 0.9) / 6)


def test_equal_scores_stay_in_one_bin() -> None:
    scores = np.array([0.3] * 90 + [0.8] * 10)
    curve = reliability(scores, np.arange(100) % 2 == 0, np.arange(100), binning="mass")
    assert [(point.n, point.low, point.high) for point in curve] == [(90, 0.3, 0.3), (10, 0.8, 0.8)]


def test_brier_by_hand() -> None:
    assert brier(SCORES, LABELS, EACH).estimate == pytest.approx(
        (0.05**2 + 0.85**2 + 0.15**2 + 0.05**2 + 0 + 0.95**2) / 6
    )


def test_reliability_by_hand() -> None:
    curve = reliability(SCORES, LABELS, EACH)
    assert [(point.low, point.n) for point in curve] == [(0.0, 1), (0.1, 2), (0.9, 3)]
    assert [point.score for point in curve] == pytest.approx([0.05, 0.15, 2.9 / 3])
    assert [point.right.estimate for point in curve] == pytest.approx([0, 0.5, 2 / 3])


def test_the_ece_of_a_calibrated_scorer_is_its_floor() -> None:
    runs = [calibrated(300, seed) for seed in range(60)]
    found = np.mean([ece(*run, resamples=2).estimate for run in runs])
    assert found == pytest.approx(np.mean([ece_floor(scores) for scores, _, _ in runs]), rel=0.06)


def test_overconfidence_stands_out_of_the_floor() -> None:
    scores, labels, each = calibrated(1000, 0)
    extreme = scores**3 / (scores**3 + (1 - scores) ** 3)
    assert ece(extreme, labels, each).low > 2 * ece_floor(extreme)


def test_reliability_intervals_of_a_calibrated_scorer_hold_its_scores() -> None:
    held = [
        not point.right.excludes(point.score) for seed in range(40) for point in reliability(*calibrated(300, seed))
    ]
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize("measure", [brier, ece, reliability])
def test_scores_that_are_no_probabilities_are_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"needs probabilities, found scores from -2 to 0\.5"):
        measure(np.array([-2.0, 0.5]), np.array([True, False]), np.arange(2))
