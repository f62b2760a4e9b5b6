"""Learning rates worked out by hand."""

import pytest

from espalier.training.schedules import learning_rate


def rates(total, **settings):
    return [learning_rate(step, total, **{"peak": 1.0, "warmup": 0.0, **settings}) for step in range(total)]


def test_warm_up_rises_linearly_to_the_peak_and_then_falls_to_the_floor():
    assert rates(10, warmup=0.4, shape="linear", final=0.4) == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    )


def test_cosine_is_half_way_down_in_the_middle():
    assert rates(5, shape="cosine") == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)


def test_constant_stays():
    assert rates(4, warmup=0.5, shape="constant") == pytest.approx([0.5, 1, 1, 1])


def test_a_run_of_one_step_learns_at_the_peak():
    assert rates(1, shape="cosine") == [1.0]
