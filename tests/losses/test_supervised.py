from __future__ import annotations

import math

import pytest
import torch

from espalier.losses import coverage, nll


def test_nats_of_a_fair_coin() -> None:
    torch.testing.assert_close(nll(torch.tensor([0.5, 1.0]).log()), torch.tensor([0.6931472, 0.0]))


def test_gradient_is_softmax_minus_one_hot() -> None:
    logits = torch.tensor([1.0, 2.0, 0.5], requires_grad=True)
    nll(logits.log_softmax(-1)[1:2]).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - torch.tensor([0.0, 1.0, 0.0]))


def test_coverage_of_one_of_two_fair_coins() -> None:
    expected = torch.tensor([math.log(4 / 3), 0.0])  # one of two is heads: 3/4
    torch.testing.assert_close(coverage(torch.tensor([0.5, 1.0]).log(), 2), expected, atol=1e-6, rtol=0)


def test_coverage_with_one_sample_is_the_likelihood() -> None:
    logprobs = torch.tensor([0.9, 0.3, 1e-9], dtype=torch.float64).log()
    torch.testing.assert_close(coverage(logprobs, 1), nll(logprobs))


@pytest.mark.parametrize("n", [2, 8, 256])
def test_coverage_has_the_gradient_of_the_likelihood_times_the_papers_factor(n: int) -> None:
    p = torch.tensor([0.999, 0.7, 0.2, 1e-3, 1e-7, 1e-30], dtype=torch.float64)
    logprobs = p.log().requires_grad_()
    coverage(logprobs, n).sum().backward()
    factor = n * (1 - p) ** (n - 1) * p / -torch.expm1(n * torch.log1p(-p))
    torch.testing.assert_close(logprobs.grad, -factor, rtol=1e-5, atol=1e-14)


def test_coverage_is_finite_where_a_probability_cannot_be_written() -> None:
    logprobs = torch.tensor([0.0, -500.0], requires_grad=True)
    coverage(logprobs, 4).sum().backward()
    torch.testing.assert_close(coverage(logprobs, 4).detach()[1], torch.tensor(500 - math.log(4)))
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([0.0, -1.0]))
