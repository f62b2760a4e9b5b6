from __future__ import annotations

import pytest
import torch

from espalier.losses import clipped, ppo_clip, reinforce


def ratios(*values: float) -> torch.Tensor:
    return torch.tensor(values).log().requires_grad_()


def test_ppo_clip_by_hand() -> None:
    logprobs = ratios(1.1, 1.5, 1.5, 0.9, 0.5, 0.5)
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0, -1.0, 1.0])
    loss = ppo_clip(logprobs, torch.zeros(6), advantages)
    torch.testing.assert_close(loss, torch.tensor([-1.1, -1.2, 1.5, 0.9, 0.8, -0.5]))
    loss.sum().backward()
    # d(-ratio * A)/d(logprob) = -ratio * A; zero where the ratio has gone too far in the advantage's own direction
    torch.testing.assert_close(logprobs.grad, torch.tensor([-1.1, 0.0, 1.5, 0.9, 0.0, -0.5]))
    assert clipped(logprobs, torch.zeros(6), advantages).tolist() == [False, True, False, False, True, False]


def test_clip_higher_frees_only_the_upper_side() -> None:
    logprobs, advantages = ratios(1.25, 0.75), torch.tensor([1.0, -1.0])
    torch.testing.assert_close(ppo_clip(logprobs, torch.zeros(2), advantages), torch.tensor([-1.2, 0.8]))
    wide = ppo_clip(logprobs, torch.zeros(2), advantages, clip_low=0.2, clip_high=0.28)
    torch.testing.assert_close(wide, torch.tensor([-1.25, 0.8]))
    assert clipped(logprobs, torch.zeros(2), advantages, 0.2, 0.28).tolist() == [False, True]


def test_at_the_sampling_policy_ppo_has_the_gradient_of_reinforce() -> None:
    logprobs = torch.tensor([-1.0, -0.2, -3.0], requires_grad=True)
    advantages = torch.tensor([0.5, -2.0, 1.0])
    (of_ppo,) = torch.autograd.grad(ppo_clip(logprobs, logprobs.detach(), advantages).sum(), logprobs)
    (of_reinforce,) = torch.autograd.grad(reinforce(logprobs, advantages).sum(), logprobs)
    torch.testing.assert_close(of_ppo, of_reinforce)


@pytest.mark.parametrize("loss", [lambda p, o, a: ppo_clip(p, o, a), lambda p, o, a: reinforce(p, a)])
def test_advantages_and_old_logprobs_are_constants(loss) -> None:
    logprobs, old, advantages = (torch.full((2,), x, requires_grad=True) for x in (-1.0, -1.1, 0.5))
    loss(logprobs, old, advantages).sum().backward()
    assert logprobs.grad is not None
    assert old.grad is None
    assert advantages.grad is None


def test_gradcheck_away_from_the_kinks() -> None:
    logprobs = torch.tensor([-0.5, 0.05, 0.6], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([1.0, -0.7, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: ppo_clip(p, torch.zeros(3, dtype=torch.float64), advantages), logprobs)
