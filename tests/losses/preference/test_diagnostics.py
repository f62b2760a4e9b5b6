from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from espalier.exact import Tabular, bandit, bradley_terry, random_reward, tilted
from espalier.losses.preference import diagnostics as d
from espalier.losses.preference import dpo

D = torch.float64


def T(*values: float) -> Tensor:  # noqa: N802
    return torch.tensor(values, dtype=D)


def test_the_exact_optimum_ranks_as_the_bound_says() -> None:
    beta, language = 0.7, bandit(12)
    reference, reward = Tabular.random(language, 0, scale=2.0)().detach(), random_reward(language, 1)
    optimum, agreement = tilted(reference, reward, beta)[0], bradley_terry(reward)[0]
    chosen, rejected = (agreement > 0.5).nonzero(as_tuple=True)
    bound = d.ideally_ranked(reference[0, chosen], reference[0, rejected], agreement[chosen, rejected], beta)
    assert torch.equal(bound, d.ranked(optimum[chosen], optimum[rejected]))
    assert 0.5 < bound.double().mean() < 1


def test_raters_who_all_agree_are_followed_by_the_optimum_and_a_number_will_do() -> None:
    assert d.ideally_ranked(T(-90.0), T(-1.0), 1.0, beta=0.1).all()
    assert not d.ideally_ranked(T(-9.0), T(-1.0), 0.6, beta=0.1).any()


def test_a_pair_is_ranked_right_when_its_loss_is_below_the_needed_one() -> None:
    chance = torch.Generator().manual_seed(0)
    chosen, rejected, chosen_reference, rejected_reference = torch.randn(4, 50, generator=chance, dtype=D)
    loss = dpo(chosen - chosen_reference, rejected - rejected_reference, beta=0.3)
    below = loss < d.needed_loss(chosen_reference, rejected_reference, beta=0.3)
    assert torch.equal(below, d.ranked(chosen, rejected))
    assert d.needed_loss(T(-3.0), T(-3.0), 0.3).item() == pytest.approx(log(2))
    assert d.needed_loss(T(-9.0), T(-3.0), 0.3) < d.needed_loss(T(-4.0), T(-3.0), 0.3) < log(2)


def test_displacement_is_a_margin_won_by_falling() -> None:
    chosen, rejected = T(-1.0, 0.5, -2.0, 1.0), T(-2.0, -1.0, -1.0, 2.0)
    assert d.displaced(chosen, rejected).tolist() == [True, False, False, False]


def test_what_is_elsewhere_is_neither_of_the_pair() -> None:
    found = d.elsewhere(T(log(0.5), log(0.5), log(1e-9)), T(log(0.2), log(0.5), log(1e-9)))
    assert found[[0, 2]].exp().tolist() == pytest.approx([0.3, 1.0])
    assert found[1] < log(1e-15)
    assert torch.isfinite(found).all()


def test_concentration_by_hand_in_any_order() -> None:
    found = d.concentration(torch.tensor([[0.2, 0.6], [0.25, 0.25], [1e-9, 1.0]], dtype=D).log())
    assert found.mass.tolist() == pytest.approx([0.8, 0.5, 1.0])
    assert found.entropy.tolist() == pytest.approx([-0.25 * log(0.25) - 0.75 * log(0.75), log(2), 0.0], abs=1e-6)
    assert found.best.exp().tolist() == pytest.approx([0.6, 0.25, 1.0])


def test_distinguishability_is_a_distance_in_spreads() -> None:
    chosen, rejected = torch.tensor([[3.0, 1.0], [3.0, -1.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert d.distinguishability(chosen, rejected).item() == pytest.approx(3 / 0.5**0.5)
    assert d.distinguishability(10 * chosen, 10 * rejected).item() == pytest.approx(3 / 0.5**0.5, rel=1e-5)
    with pytest.raises(ValueError, match="at least two"):
        d.distinguishability(chosen[:1], rejected)
