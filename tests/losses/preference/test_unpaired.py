from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from espalier.losses.preference import apo_down, apo_zero, bco, dro, kto, nca, pmpo, reference_point

from .worlds import ANSWERS, World, gradient

D = torch.float64
LIKED = torch.tensor([True, False])


def T(*values: float) -> Tensor:  # noqa: N802
    return torch.tensor(values, dtype=D)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def logistic(margin: float) -> float:
    return log(1 + exp(-margin))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (kto(T(3.0, 3.0), LIKED, 1.0, 0.5, 1.33, 0.7), [1.33 * sigmoid(-1), 0.7 * sigmoid(1)]),
        (apo_zero(T(2.0, 2.0), LIKED, 0.5), [sigmoid(-1), sigmoid(1)]),
        (apo_down(T(3.0), T(1.0), 0.5), [sigmoid(1.5) + sigmoid(-1)]),
        (bco(T(3.0, 3.0), LIKED, 0.5, shift=0.5), [logistic(1), logistic(-1)]),
        (nca(T(2.0), T(4.0), 0.5), [logistic(1) + logistic(-1) / 2 + logistic(-2) / 2]),
        (dro(T(2.0), T(1.0), T(-0.5), 0.25), [0.5]),
        (pmpo(T(-3.0, -5.0), LIKED, T(0.2, 0.4), 0.6, 0.5, share=0.5), [1.2 * 3 + 0.1, -0.8 * 5 + 0.2]),
    ],
)
def test_values_by_hand(loss: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(loss, T(*expected))


def test_the_reference_point_is_a_constant_and_never_negative() -> None:
    logratio = T(1.0, 3.0).requires_grad_()
    assert reference_point(logratio).item() == 2.0
    assert not reference_point(logratio).requires_grad
    assert reference_point(T(1.0, -3.0)).item() == 0.0


def test_dro_is_zero_at_the_tilted_posterior_and_its_value() -> None:
    world, tau = World(), 0.7
    value = tau * torch.logsumexp(world.reference + world.reward / tau, 0)
    logratio = (world.reward - value) / tau
    assert (world.reference + logratio).exp().sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(dro(logratio, world.reward, value, tau), torch.zeros(ANSWERS, dtype=D))


@pytest.mark.parametrize(("alpha", "share"), [(0.6, 0.5), (0.6, 0.9), (1.0, 1.0), (0.0, 0.0)])
def test_the_optimum_of_pmpo_is_a_mixture(alpha: float, share: float) -> None:
    """`alpha accepted - (1 - alpha) rejected + beta reference`, normalised, at any ratio of both, or one alone."""
    world, beta = World(), 4.0
    accepted, rejected = T(0.5, 0.3, 0.2, 0.0, 0.0), T(0.0, 0.0, 0.0, 0.01, 0.02) / 0.03
    reference = torch.full((ANSWERS,), 1 / ANSWERS, dtype=D)
    optimum = (alpha * accepted - (1 - alpha) * rejected + beta * reference) / (2 * alpha - 1 + beta)
    assert (optimum > 0).all()
    desirable = torch.tensor([True] * ANSWERS + [False] * ANSWERS)
    weight = torch.cat([share * accepted, (1 - share) * rejected])

    def loss(logits: Tensor) -> Tensor:
        logprobs = logits.log_softmax(0)
        forward_kl = (reference * (reference.log() - logprobs)).sum()
        losses = pmpo(logprobs.repeat(2), desirable, forward_kl.expand(2 * ANSWERS), alpha, beta, share)
        return (weight * losses).sum()

    assert gradient(loss, optimum.log()).abs().max() < 1e-12
    assert gradient(loss, world.policy).abs().max() > 0.1


def test_ncas_rewards_stay_finite() -> None:
    """On the population of one comparison, the loss falls and rises again as both rewards grow: it has an anchor."""
    grid = torch.linspace(-8, 8, 401, dtype=D)
    losses = 0.8 * nca(grid, -grid, 1.0) + 0.2 * nca(-grid, grid, 1.0)
    assert 0 < losses.argmin().item() < 400
