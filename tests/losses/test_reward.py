from __future__ import annotations

from math import exp, log

import torch

from espalier.losses import bradley_terry


def test_values_by_hand() -> None:
    loss = bradley_terry(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(loss, torch.tensor([log(1 + exp(-1)), log(1 + exp(2))]))


def test_the_origin_of_the_rewards_is_free() -> None:
    chosen, rejected = torch.tensor([1.0, -0.5]), torch.tensor([0.25, 2.0])
    torch.testing.assert_close(bradley_terry(chosen + 7, rejected + 7), bradley_terry(chosen, rejected))


def test_a_margin_must_be_won_by() -> None:
    loss = bradley_terry(torch.tensor([3.0, 3.0]), torch.zeros(2), margin=torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(loss, torch.tensor([log(2), log(1 + exp(-2))]))


def test_learns_the_strengths_that_made_the_comparisons() -> None:
    """With all pairs weighted by their true win rates, the minimum is the strengths, up to their origin."""
    strength = torch.tensor([0.0, 0.7, 1.5], dtype=torch.float64)
    i, j = torch.tensor([(i, j) for i in range(3) for j in range(3) if i != j]).T
    rate = (strength[i] - strength[j]).sigmoid()
    learned = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([learned], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (rate * bradley_terry(learned[i], learned[j])).sum()
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[arg-type]
    torch.testing.assert_close(learned.detach() - learned.detach()[0], strength, atol=1e-5, rtol=0)
