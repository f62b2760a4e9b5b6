from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from espalier.losses.preference import (
    core,
    dno,
    drpo,
    geometric_mixture,
    gpo,
    inpo,
    ipo,
    nash_md,
    online_ipo,
    sppo,
    srpo,
)

from .worlds import ANSWERS, World, gradient

D = torch.float64


def T(*values: float) -> Tensor:  # noqa: N802
    return torch.tensor(values, dtype=D)


def logistic(margin: float) -> float:
    return log(1 + exp(-margin))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (online_ipo(T(3.0), T(1.0), 0.75, tau=0.25), 0.75 * 0 + 0.25 * 16),
        (dno(T(3.0), T(1.0), T(0.0), T(0.0), 0.5), (logistic(1) + logistic(-1)) / 2),
        (sppo(T(3.0), T(0.75), eta=4.0), 4.0),
        (gpo(T(3.0), T(2.0), beta=2.0), 4.0),
        (inpo(T(3.0), T(1.0), T(2.0), T(4.0), tau=0.5, eta=2.0), (0.25 * 2 + 0.75 * -2 - 0.25) ** 2),
        (srpo(T(3.0), T(1.0), torch.zeros(1, 2, 2, dtype=D), 1.0, 0.25, 0.4), 0.4 * 0.5 + 0.6 * 0.25),
        (drpo(T(0.0, 0.0)[None], T(1.0, 0.0)[None], T(0.5, 0.5)[None], T(0.3, 0.1)[None]), -0.2),
    ],
)
def test_values_by_hand(loss: Tensor, expected: float) -> None:
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_a_certain_label_makes_online_ipo_ipo() -> None:
    torch.testing.assert_close(online_ipo(T(3.0), T(1.0), 1.0, 0.1), ipo(T(3.0), T(1.0), 0.1))


def nash(world: World, tau: float) -> Tensor:
    """Log-probs of the KL-regularised equilibrium: the policy that is the best answer to itself."""
    policy = world.reference
    for _ in range(4000):
        answer = (world.reference + world.preference @ policy.exp() / tau).log_softmax(0)
        policy = torch.lerp(policy, answer, 0.1).log_softmax(0)
    torch.testing.assert_close(policy, answer)
    return policy


def test_online_ipo_rests_at_the_regularised_equilibrium() -> None:
    """Pairs from the equilibrium itself, each label with its probability: no gradient, and elsewhere some."""
    world, tau = World(), 1.0
    equilibrium = nash(world, tau)

    def at(law: Tensor) -> Tensor:
        def loss(logits: Tensor) -> Tensor:
            logratio = logits.log_softmax(0) - world.reference
            losses = online_ipo(logratio[world.i], logratio[world.j], world.preference[world.i, world.j], tau)
            drawn = law.exp()[world.i] * law.exp()[world.j]
            return (drawn * losses).sum()

        return gradient(loss, law).abs().max()

    assert at(equilibrium) < 1e-7
    assert at(world.policy) > 1e-2


def test_nash_md_rests_at_the_regularised_equilibrium() -> None:
    world, tau = World(), 1.0
    equilibrium = nash(world, tau)

    def loss(logits: Tensor) -> Tensor:
        logprob = logits.log_softmax(0)
        preference = world.preference @ equilibrium.exp()
        return (equilibrium.exp() * nash_md(logprob, logprob - world.reference, preference, tau)).sum()

    assert gradient(loss, equilibrium).abs().max() < 1e-7


def test_geometric_mixture_of_two_policies() -> None:
    mixed = geometric_mixture(T(0.5, 0.5)[None].log(), T(0.8, 0.2)[None].log(), 0.5)
    torch.testing.assert_close(mixed.exp(), T(2 / 3, 1 / 3)[None])


def test_inpo_goes_to_the_step_of_mirror_descent() -> None:
    """The population optimum of one round is `reference^(tau/eta) last^(1-tau/eta) exp(win rate / eta)`."""
    world, tau, eta = World(), 0.5, 2.0
    last = world.policy
    step = (tau * world.reference + (eta - tau) * last + world.preference @ last.exp()) / eta

    def loss(logits: Tensor) -> Tensor:
        policy = logits.log_softmax(0)
        ratio, progress = policy - world.reference, policy - last
        losses = inpo(ratio[world.i], ratio[world.j], progress[world.i], progress[world.j], tau, eta)
        return world.expected(losses, world.preference, law=last)

    assert gradient(loss, step).abs().max() < 1e-12
    assert gradient(loss, last).abs().max() > 1e-3


def test_dno_goes_to_the_exponential_of_the_win_rate() -> None:
    world, eta = World(), 0.5
    winrate = world.preference @ world.policy.exp()
    step = world.policy + winrate / eta

    def loss(logits: Tensor) -> Tensor:
        progress = logits.log_softmax(0) - world.policy
        i, j = world.i, world.j
        return dno(progress[i], progress[j], winrate[i], winrate[j], eta).sum()

    assert gradient(loss, step).abs().max() < 1e-12


def test_srpo_is_zero_at_the_closed_form_of_its_game() -> None:
    """The reviser tilts the reference by `preference / beta`; the writer divides it by what the reviser gains."""
    world, beta = World(), 0.3
    g = torch.Generator().manual_seed(3)
    reference = torch.randn(ANSWERS, ANSWERS, generator=g, dtype=D).log_softmax(1)  # of writing j when shown i
    preference = world.preference.T / beta  # that j beats i
    gain = torch.logsumexp(reference + preference, 1)
    reviser = preference - gain[:, None]
    writer = (world.reference - gain).log_softmax(0) - world.reference
    i, j = world.i, world.j
    revision = torch.stack(
        [torch.stack([reviser[i, i], reviser[i, j]], -1), torch.stack([reviser[j, i], reviser[j, j]], -1)], 1
    )
    losses = srpo(writer[i], writer[j], revision, world.preference[i, j], beta, alpha=0.4)
    torch.testing.assert_close(losses, torch.zeros_like(losses))


@pytest.mark.parametrize("wrong", ["nothing", "preference", "reference", "both"])
def test_drpo_survives_either_model_being_wrong(wrong: str) -> None:
    """Exactly over all pairs that the reference draws: value and gradient are those of P(policy beats reference)."""
    world = World()
    true = world.preference
    model = World(7).preference if wrong in ("preference", "both") else true
    believed = World(8).reference if wrong in ("reference", "both") else world.reference
    pairs = torch.cartesian_prod(torch.arange(ANSWERS), torch.arange(ANSWERS))
    i, j = pairs.T
    drawn = world.reference.exp()[i] * world.reference.exp()[j]

    def estimated(logits: Tensor) -> Tensor:
        policy = logits.log_softmax(0)
        ratio, direct = (policy - believed)[pairs], (policy.exp() @ model)[pairs]
        value = torch.zeros((), dtype=D)
        for won, label in ((T(1.0, 0.0), true[i, j]), (T(0.0, 1.0), true[j, i])):
            estimate = torch.stack([model[i, j], model[j, i]], -1)
            losses = drpo(ratio, won.expand(len(pairs), 2), estimate, direct)
            value = value + (drawn * label * losses).sum()
        return value

    def exact(logits: Tensor) -> Tensor:
        return -logits.softmax(0) @ true @ world.reference.exp()

    gap = (gradient(estimated, world.policy) - gradient(exact, world.policy)).abs().max()
    if wrong == "both":
        assert gap > 1e-2
    else:
        torch.testing.assert_close(estimated(world.policy), exact(world.policy))
        assert gap < 1e-12


def test_drpos_ratio_is_clipped() -> None:
    logratio = T(5.0, -5.0)[None].requires_grad_()
    loss = drpo(logratio, T(1.0, 0.0)[None], T(0.5, 0.5)[None], T(0.0, 0.0)[None], clip=2.0)
    assert loss.item() == pytest.approx(-(2.0 * 0.5 - 0.5 * 0.5) / 2)
    loss.sum().backward()
    assert logratio.grad is not None
    torch.testing.assert_close(logratio.grad, T(-0.5, 0.125)[None])


def test_a_preference_model_is_a_soft_label() -> None:
    torch.testing.assert_close(core.labelled(core.logistic, T(1.0), 0.7), T(0.7 * logistic(1) + 0.3 * logistic(-1)))
