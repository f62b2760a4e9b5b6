"""Checked by enumeration: on a categorical policy the mean over samples is a sum over tokens."""

from __future__ import annotations

from math import log

import pytest
import torch

from espalier.losses import k1, k2, k3, kl, kl_of_choice


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.tensor([0.3, -1.0, 2.0, 0.0], dtype=torch.float64, requires_grad=True)


@pytest.fixture
def reference() -> torch.Tensor:
    return torch.tensor([1.0, 0.5, 1.5, -0.3], dtype=torch.float64).log_softmax(-1)


def test_values_by_hand() -> None:
    p, q = torch.tensor([0.5]).log(), torch.tensor([0.25]).log()
    torch.testing.assert_close(k1(p, q), torch.tensor([log(2)]))
    torch.testing.assert_close(k2(p, q), torch.tensor([log(2) ** 2 / 2]))
    torch.testing.assert_close(k3(p, q), torch.tensor([0.5 - 1 + log(2)]))


def test_exact_kl_by_hand() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    torch.testing.assert_close(kl(p.log(), q.log()), torch.tensor([0.5 * log(2) + 0.5 * log(2 / 3)]))


def test_k1_and_k3_are_unbiased(logits: torch.Tensor, reference: torch.Tensor) -> None:
    logp = logits.detach().log_softmax(-1)
    exact = kl(logits[None], reference[None]).item()
    assert (logp.exp() * k1(logp, reference)).sum().item() == pytest.approx(exact)
    assert (logp.exp() * k3(logp, reference)).sum().item() == pytest.approx(exact)


def test_k2_and_k3_are_never_negative_and_keep_small_differences() -> None:
    p = torch.linspace(-9, 0, 50)
    assert (k2(p, p.flip(0)) >= 0).all()
    assert (k3(p, p.flip(0)) >= 0).all()
    tiny = torch.tensor([1e-4])  # exp(d) - 1 - d in fp32 would be 0 or noise here
    assert k3(torch.zeros(1), tiny).item() == pytest.approx(5e-9, rel=0.3)


def test_gradients_of_the_estimators_as_losses(logits: torch.Tensor, reference: torch.Tensor) -> None:
    """The mean gradient over the policy's samples: k1 none, k2 that of KL(p||q), k3 that of KL(q||p)."""
    logp = logits.log_softmax(-1)
    probability = logp.exp().detach()

    def of(loss: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss, logits, retain_graph=True)[0]

    torch.testing.assert_close(of((probability * k1(logp, reference)).sum()), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(of((probability * k2(logp, reference)).sum()), of(kl(logits[None], reference[None])[0]))
    torch.testing.assert_close(of((probability * k3(logp, reference)).sum()), of(kl(reference[None], logits[None])[0]))


def test_tokens_ruled_out_by_the_policy_add_nothing_and_leave_the_gradient_finite() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]], requires_grad=True)
    value = kl(logits, torch.zeros(1, 3))
    value.sum().backward()
    assert value.item() == pytest.approx(log(1.5))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert kl(logits.detach(), logits.detach()).item() == 0.0


def test_tokens_ruled_out_by_the_reference_alone_make_it_infinite() -> None:
    assert kl(torch.zeros(1, 2), torch.tensor([[0.0, -torch.inf]])).item() == torch.inf


def test_the_kl_of_a_choice_by_hand_and_of_two_tokens_is_the_whole_kl() -> None:
    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    by_hand = 0.5 * log(2) + 0.5 * log(2 / 3)
    torch.testing.assert_close(kl_of_choice(p.log(), q.log()), torch.full((1, 2), by_hand))
    torch.testing.assert_close(kl(p.log(), q.log()), torch.tensor([by_hand]))


def test_the_kl_of_a_choice_is_a_lower_bound_and_0_at_certainty(logits: torch.Tensor, reference: torch.Tensor) -> None:
    logp = logits.detach().log_softmax(-1)
    choice = kl_of_choice(logp, reference)
    assert (choice > 0).all()
    assert (choice < kl(logp[None], reference[None])).all()
    sure = torch.zeros(1, requires_grad=True)
    kl_of_choice(sure, torch.zeros(1)).backward()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()
