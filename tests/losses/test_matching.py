from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from espalier.exact import Tabular, bandit, descend, expectation, kl, total_variation
from espalier.losses import matching, nll
from espalier.losses.matching import f_sft

F: dict[matching.Utility, Callable[[Tensor], Tensor]] = {
    matching.pearson: lambda u: (u - 1).square(),
    matching.hellinger: lambda u: (u.sqrt() - 1).square(),
}


@pytest.mark.parametrize("utility", F)
def test_the_optimum_is_that_of_the_divergence_with_its_kl_penalty(utility: matching.Utility) -> None:
    language, beta = bandit(5), 0.7
    expert, reference = (Tabular.random(language, seed)().detach() for seed in (0, 1))
    trained, direct = Tabular.of(language, reference), Tabular.of(language, reference)
    trained.offset = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    descend(trained, lambda: expectation(expert, f_sft(trained() - reference, beta, utility, trained.offset)).mean())

    def matched() -> Tensor:
        law = direct()
        return (expectation(expert, F[utility]((law - expert).exp())) + beta * kl(law, reference)).mean()

    descend(direct, matched)
    assert total_variation(trained().detach(), direct().detach()) < 1e-5
    assert total_variation(trained().detach(), expert) > 0.01


def test_linear_is_the_likelihood_and_forgets_the_reference() -> None:
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = f_sft(logprobs - torch.tensor([-0.5, -3.0]), 0.5, matching.linear, offset=3.0)
    (gradient,) = torch.autograd.grad(loss.sum(), logprobs)
    (likelihood,) = torch.autograd.grad(nll(logprobs).sum(), logprobs)
    torch.testing.assert_close(gradient, 0.5 * likelihood)


def test_utilities_by_hand() -> None:
    rewards = torch.tensor([0.0, 1.0, 2.0])
    torch.testing.assert_close(matching.pearson(rewards), torch.tensor([0.0, 0.75, 1.0]))
    torch.testing.assert_close(matching.hellinger(rewards), torch.tensor([0.0, 0.5, 2 / 3]))


def test_below_hellingers_domain_the_loss_is_infinite_and_its_gradient_finite() -> None:
    reward = torch.tensor([-1.0, -3.0, 0.5], requires_grad=True)
    worth = matching.hellinger(reward)
    assert worth[:2].isneginf().all()
    worth[2:].sum().backward()
    assert reward.grad is not None
    assert reward.grad.isfinite().all()
