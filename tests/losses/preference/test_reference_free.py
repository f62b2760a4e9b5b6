from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from espalier.losses.preference import alphapo, cpo, orpo, simpo, slic, typo

D = torch.float64


def T(*values: float) -> Tensor:  # noqa: N802
    return torch.tensor(values, dtype=D)


def logistic(margin: float) -> float:
    return log(1 + exp(-margin))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (cpo(T(-3.0), T(-5.0), 0.5, alpha=0.2), logistic(1) + 0.6),
        (simpo(T(-0.5), T(-1.5), 2.0, gamma=0.8), logistic(1.2)),
        (alphapo(T(log(0.5)), T(log(0.25)), 2.0, gamma=0.8, alpha=1.0), logistic(2 * 2 - 0.8)),
        (alphapo(T(-0.5), T(-1.5), 2.0, gamma=0.8, alpha=0.0), logistic(1.2)),
        (orpo(T(log(0.5)), T(log(0.25)), weight=0.1), log(2) + 0.1 * logistic(log(3))),
        (slic(T(-3.0), T(-3.5), T(-2.0), delta=1.0, weight=0.1), 0.5 + 0.2),
        (slic(T(-3.0), T(-4.5), T(-2.0), delta=1.0, weight=0.1), 0.2),
        (typo(T(log(0.5)), T(log(0.25)), T(-2.0), weight=0.1), log(1.5) + 0.2),
    ],
)
def test_values_by_hand(loss: Tensor, expected: float) -> None:
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_orpos_odds_ratio_at_the_ends() -> None:
    """Sure and hopeless responses give finite losses and gradients, in single precision too."""
    chosen = torch.tensor([0.0, -1e-8, -200.0], requires_grad=True)
    rejected = torch.tensor([-200.0, 0.0, -1e-8], requires_grad=True)
    losses = orpo(chosen, rejected, 0.1)
    losses.sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    for values in (losses, chosen.grad, rejected.grad):
        assert torch.isfinite(values).all()


def test_typo_leaves_a_reference_alone_that_agrees_with_the_preferences() -> None:
    """Whatever the weight; DPO would move it. The pairs' odds are the policy's own: 0.5 to 0.3 to 0.2."""
    law = T(0.5, 0.3, 0.2)
    logits = law.log().requires_grad_()
    now = logits.log_softmax(-1)
    for weight in (0.01, 1.0, 100.0):
        loss = torch.zeros((), dtype=D)
        for i in range(3):
            for j in range(3):
                if i != j:
                    pair = law[i] * law[j] * law[i] / (law[i] + law[j])
                    loss = loss + pair * typo(now[i : i + 1], now[j : j + 1], now @ law[:, None], weight).sum()
        (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
        assert gradient.abs().max() < 1e-12
