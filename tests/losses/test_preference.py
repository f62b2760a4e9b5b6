from __future__ import annotations

from math import exp, log

import pytest
import torch

from espalier.losses import dpo


def test_values_by_hand() -> None:
    loss = dpo(torch.tensor([0.0, 3.0, -1.0]), torch.tensor([0.0, 1.0, 1.0]), beta=0.5)
    expected = [log(2), log(1 + exp(-1)), log(1 + exp(1))]
    torch.testing.assert_close(loss, torch.tensor(expected))


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


def test_smoothing_puts_the_optimum_at_a_finite_margin() -> None:
    """At sigmoid(margin) = 1 - smoothing the gradient vanishes, and the loss is the entropy of the label."""
    best = torch.tensor([log(0.9 / 0.1)], dtype=torch.float64, requires_grad=True)
    loss = dpo(best, torch.zeros(1, dtype=torch.float64), beta=1.0, smoothing=0.1)
    loss.sum().backward()
    assert best.grad is not None
    assert best.grad.item() == pytest.approx(0.0, abs=1e-12)
    assert loss.item() == pytest.approx(-0.9 * log(0.9) - 0.1 * log(0.1))


def test_gradcheck() -> None:
    g = torch.Generator().manual_seed(0)
    chosen, rejected = (torch.randn(5, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda c, r: dpo(c, r, 0.3, 0.05), (chosen, rejected))
