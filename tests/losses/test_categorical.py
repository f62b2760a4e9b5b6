from __future__ import annotations

import math

import pytest
import torch

from espalier.losses import Support, cross_entropy, expected_value, hl_gauss, project, two_hot

UNIT = Support(0.0, 1.0, 5)  # centres 0, 1/4, 1/2, 3/4, 1


def test_two_hot_by_hand() -> None:
    found = two_hot(torch.tensor([0.0, 0.3, 1.0, 7.0]), UNIT)
    expected = [[1, 0, 0, 0, 0], [0, 0.8, 0.2, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_hl_gauss_by_hand() -> None:
    def below(x: float) -> float:
        return (1 + math.erf((x - 0.5) / (0.75 * 0.25 * math.sqrt(2)))) / 2

    edges = [below(x) for x in (-0.125, 0.125, 0.375, 0.625, 0.875, 1.125)]
    mass = torch.tensor(edges).diff() / (edges[-1] - edges[0])
    torch.testing.assert_close(hl_gauss(torch.tensor([0.5]), UNIT), mass[None])


def test_c51_projection_by_hand() -> None:
    # Atoms at r + gamma * centre = 0.1, 0.225, ..., 0.6; a point mass on the centre 1/2 moves to 0.35.
    where = torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]])
    found = project(where, torch.tensor([0.1]), 0.5, UNIT)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.6, 0.4, 0.0, 0.0]]))


def test_the_mean_of_a_projection_is_the_mean_of_what_was_projected() -> None:
    torch.manual_seed(0)
    support = Support.around(0, 1, 31)
    targets = torch.rand(50, dtype=torch.float64)
    centres = support.centres(targets)
    torch.testing.assert_close(two_hot(targets, support) @ centres, targets)
    torch.testing.assert_close(hl_gauss(targets, support) @ centres, targets, atol=1e-4, rtol=0)
    law = torch.rand(50, 31, dtype=torch.float64).softmax(-1)
    moved = project(law, 0.1 * targets, 0.5, support)
    torch.testing.assert_close(moved @ centres, 0.1 * targets + 0.5 * (law @ centres))


def test_a_smoothed_target_at_the_end_of_the_range_needs_bins_beyond_it() -> None:
    one = torch.ones(1, dtype=torch.float64)
    without, beyond = UNIT, Support.around(0, 1, 11)
    assert float(hl_gauss(one, without) @ without.centres(one)) < 0.92
    assert float(hl_gauss(one, beyond) @ beyond.centres(one)) == pytest.approx(1, abs=1e-3)


def test_cross_entropy_is_least_at_the_target_and_reads_back() -> None:
    targets = torch.tensor([0.2, 0.9])
    goal = two_hot(targets, UNIT)
    logits = goal.clamp(min=1e-9).log()
    entropy = -(goal * goal.clamp(min=1e-9).log()).sum(-1)
    torch.testing.assert_close(cross_entropy(logits, goal), entropy)
    torch.testing.assert_close(expected_value(logits, UNIT), targets)


def test_a_support_of_one_bin_or_none_inside_is_refused() -> None:
    with pytest.raises(ValueError, match="two bins or more"):
        Support(0, 1, 1)
    with pytest.raises(ValueError, match="take 8 or more"):
        Support.around(0, 1, 7)
