from __future__ import annotations

from collections.abc import Callable
from math import exp, log

import pytest
import torch
from torch import Tensor

from espalier.losses import dpo
from espalier.losses.preference import (
    asymmetric_dpo,
    bonbon,
    cdpo,
    core,
    degree,
    discopop,
    distilled_dpo,
    dpo_shift,
    exo,
    f_dpo,
    generalised,
    hinge_dpo,
    ipo,
    iterative_rpo,
    ln_dpo,
    odpo,
    r_dpo,
    rationale_dpo,
    reward_scaled_dpo,
    robust_dpo,
    rpo,
    step_dpo,
    vpo,
)

from .worlds import World, gradient

D = torch.float64


def T(*values: float) -> Tensor:  # noqa: N802
    return torch.tensor(values, dtype=D)


def logistic(margin: float) -> float:
    return log(1 + exp(-margin))


CHOSEN, REJECTED = T(3.0), T(1.0)
BY_HAND: list[tuple[Tensor, float]] = [
    (dpo(CHOSEN, REJECTED, 0.5), logistic(1)),
    (cdpo(CHOSEN, REJECTED, 0.5, noise=0.1), 0.9 * logistic(1) + 0.1 * logistic(-1)),
    (robust_dpo(CHOSEN, REJECTED, 0.5, noise=0.1), (0.9 * logistic(1) - 0.1 * logistic(-1)) / 0.8),
    (ipo(CHOSEN, REJECTED, tau=0.1), 9.0),
    (hinge_dpo(CHOSEN, REJECTED, 0.25), 0.5),
    (hinge_dpo(CHOSEN, REJECTED, 0.75), 0.0),
    (generalised(CHOSEN, REJECTED, 0.5, core.exponential), exp(-1)),
    (ln_dpo(CHOSEN, REJECTED, T(6.0), T(4.0), 2.0), logistic(0.5)),
    (r_dpo(CHOSEN, REJECTED, T(6.0), T(4.0), 0.5, alpha=0.25), logistic(1.5)),
    (dpo_shift(CHOSEN, REJECTED, 0.5, shift=0.5), logistic(1.25)),
    (asymmetric_dpo(CHOSEN, REJECTED, 0.5, 0.1), logistic(1.4)),
    (odpo(CHOSEN, REJECTED, T(0.4), 0.5), logistic(0.6)),
    (reward_scaled_dpo(CHOSEN, REJECTED, T(2.0), 0.5, 0.5, 0.5), logistic(1 + 0.5 * (1 - exp(-1)))),
    (distilled_dpo(CHOSEN, REJECTED, T(3.0), 0.5), 4.0),
    (bonbon(CHOSEN, REJECTED, T(-7.0), n=3, alpha=0.25), 0.25 * 7 + 0.75 * 1.0),
    (rpo(CHOSEN, REJECTED, T(-7.0), 0.5, eta=0.2), logistic(1) + 0.7),
    (iterative_rpo(CHOSEN, REJECTED, T(-6.0), T(3.0), 0.5, alpha=0.2), logistic(1) + 0.4),
    (vpo(CHOSEN, REJECTED, T(1.5), 0.5, alpha=0.2), logistic(1) + 0.15),
    (rationale_dpo(CHOSEN, REJECTED, T(-4.0), 0.5, gamma=0.25), logistic(1) + 1),
    (f_dpo(T(log(2)), T(log(0.5)), 0.5, core.forward_kl), logistic(0.5 * (2 - 0.5))),
    (f_dpo(T(log(3)), T(0.0), 2.0, core.jensen_shannon), logistic(2 * log(1.5))),
    (f_dpo(T(log(4)), T(0.0), 1.0, core.alpha_divergence(0.5)), logistic(1.0)),
]


@pytest.mark.parametrize(("loss", "expected"), BY_HAND)
def test_values_by_hand(loss: Tensor, expected: float) -> None:
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_gradient_is_beta_times_the_probability_of_the_wrong_order() -> None:
    chosen = torch.tensor([2.0], requires_grad=True)
    rejected = torch.tensor([1.0], requires_grad=True)
    dpo(chosen, rejected, beta=0.1).sum().backward()
    wrong = 1 / (1 + exp(0.1))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.1 * wrong)
    assert rejected.grad.item() == pytest.approx(0.1 * wrong)


def test_no_overflow_at_a_huge_margin() -> None:
    loss = dpo(torch.tensor([-1e6, 1e6]), torch.tensor([1e6, -1e6]), beta=1.0)
    assert loss.tolist() == [2e6, 0.0]


def test_noise_puts_the_optimum_at_a_finite_margin() -> None:
    """At sigmoid(margin) = 1 - noise the gradient vanishes, and the loss is the entropy of the label."""
    best = T(log(0.9 / 0.1))
    assert gradient(lambda m: cdpo(m, T(0.0), 1.0, 0.1).sum(), best).item() == pytest.approx(0.0, abs=1e-12)
    assert cdpo(best, T(0.0), 1.0, 0.1).item() == pytest.approx(-0.9 * log(0.9) - 0.1 * log(0.1))


def test_exo_is_the_divergence_from_the_label() -> None:
    """0 where the two rewards say exactly the label's noise, and above 0 elsewhere."""
    at = T(log(0.9 / 0.1))
    assert exo(at, T(0.0), 1.0, 0.1).item() == pytest.approx(0.0, abs=1e-12)
    assert (exo(at + T(-1.0, 1.0), T(0.0), 1.0, 0.1) > 0.01).all()


def test_exo_refuses_a_certain_label() -> None:
    with pytest.raises(ValueError, match=r"noise = 0\.0: EXO needs"):
        exo(CHOSEN, REJECTED, 1.0, 0.0)


def test_discopop_goes_from_logistic_to_exponential() -> None:
    losses = discopop(T(-3.0, 0.0, 3.0), T(0.0), 1.0)
    torch.testing.assert_close(losses, T(logistic(-3), (log(2) + 1) / 2, exp(-3)))


@pytest.mark.parametrize(
    "divergence", [core.reverse_kl, core.forward_kl, core.jensen_shannon, core.alpha_divergence(0.3)]
)
def test_the_optimum_of_f_dpo_has_the_reward_as_the_divergences_slope(divergence: core.Divergence) -> None:
    """`beta * f'(policy / reference)` differs from the reward by a constant: there the mean gradient is 0."""
    world, beta = World(), 2.0
    grid = torch.linspace(-12, 12, 2_000_001, dtype=D)
    wanted = (world.reward - world.reward.max()) / beta  # below every divergence's greatest slope
    logratio = grid[torch.searchsorted(divergence(grid).contiguous(), wanted)]
    preference = world.bradley_terry(beta * divergence(logratio))

    def loss(at: Tensor) -> Tensor:
        return world.expected(f_dpo(at[world.i], at[world.j], beta, divergence), preference)

    torch.testing.assert_close(
        beta * (divergence(logratio) - divergence(logratio).max()), beta * wanted, atol=1e-3, rtol=0
    )
    assert gradient(loss, logratio).abs().max() < 1e-12


def test_the_optimum_of_length_regularised_dpo_explains_what_length_does_not() -> None:
    world, beta, alpha = World(), 0.5, 0.1
    tokens = T(3.0, 9.0, 1.0, 5.0, 7.0)
    logratio = (world.reward - alpha * tokens) / beta

    def loss(at: Tensor) -> Tensor:
        i, j = world.i, world.j
        losses = r_dpo(at[i], at[j], tokens[i], tokens[j], beta, alpha)
        return world.expected(losses, world.bradley_terry(world.reward))

    assert gradient(loss, logratio).abs().max() < 1e-12


def test_the_vpo_term_is_the_optimal_value_of_the_calibrated_reward() -> None:
    """Of a reward with mean 0 under the calibration policy: the best `E[reward] - beta KL`, negated."""
    world, beta, calibration = World(), 0.7, World(1).policy.exp()
    logratio = world.policy - world.reference
    reward = beta * (logratio - (calibration * logratio).sum())
    best = beta * torch.logsumexp(world.reference + reward / beta, 0)
    dpo_part = dpo(logratio[:1], logratio[1:2], beta)
    losses = vpo(logratio[:1].expand(5), logratio[1:2].expand(5), logratio, beta, alpha=0.3)
    torch.testing.assert_close((calibration * losses).sum(), dpo_part[0] - 0.3 * best)


def test_rpo_is_pessimistic_vpo_but_for_a_constant() -> None:
    world = World()
    logratio = world.policy - world.reference
    i, j = world.i, world.j
    difference = rpo(logratio[i], logratio[j], world.policy[i], 0.7, eta=0.3) - vpo(
        logratio[i], logratio[j], logratio[i], 0.7, alpha=-0.3
    )
    torch.testing.assert_close(difference, -0.3 * 0.7 * world.reference[i])


@pytest.mark.parametrize("n", [2, 4, 8])
def test_bonbon_aims_at_the_log_ratio_gap_of_best_of_n(n: int) -> None:
    """Best-of-n has the log-ratio `log n + (n - 1) log F`; its gap between best and worst of n, integrated over F."""
    u = (torch.arange(2_000_000, dtype=D) + 0.5) / 2_000_000
    best, worst = n * u ** (n - 1), n * (1 - u) ** (n - 1)
    gap = ((n - 1) * u.log() * (best - worst)).mean()
    assert bonbon(gap[None], T(0.0), T(0.0), n, alpha=0.0).item() == pytest.approx(0.0, abs=1e-6)


def test_step_dpo_sees_only_the_step() -> None:
    g = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 3, 6, generator=g, dtype=D)
    mask = torch.tensor([[0, 0, 1, 1, 0, 0]] * 3).bool()
    expected = dpo(chosen[:, 2:4].sum(-1), rejected[:, 2:4].sum(-1), 0.3)
    torch.testing.assert_close(step_dpo(chosen, rejected, mask, mask, 0.3), expected)


def test_degree_is_the_cross_entropy_of_what_was_removed() -> None:
    loss = degree(torch.tensor([[0.0, 0.0], [log(3), 0.0]]), torch.tensor([0, 1]))
    torch.testing.assert_close(loss, torch.tensor([log(2), log(4)]))


SMOOTH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dpo": lambda c, r: dpo(c, r, 0.3),
    "exo": lambda c, r: exo(c, r, 0.3, 0.1),
    "discopop": lambda c, r: discopop(c, r, 0.3),
    "js": lambda c, r: f_dpo(c, r, 0.3, core.jensen_shannon),
    "alpha": lambda c, r: f_dpo(c, r, 0.3, core.alpha_divergence(0.5)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    chosen, rejected = (torch.randn(5, generator=g, dtype=D).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(SMOOTH[name], (chosen, rejected))
