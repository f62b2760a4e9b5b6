from __future__ import annotations

from math import exp, log

import pytest
import torch

from espalier.losses import bce, clipped_mse, mse


def test_bce_by_hand() -> None:
    loss = bce(torch.tensor([0.0, 2.0, -2.0]), torch.tensor([1.0, 1.0, 1.0]))
    torch.testing.assert_close(loss, torch.tensor([log(2), log(1 + exp(-2)), log(1 + exp(2))]))


def test_bce_gradient_is_probability_minus_outcome_for_soft_labels_too() -> None:
    logits = torch.tensor([0.3, -1.0], requires_grad=True)
    outcome = torch.tensor([0.25, 1.0])
    bce(logits, outcome).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().sigmoid() - outcome)


def test_bce_takes_the_labels_of_a_half_precision_model() -> None:
    assert bce(torch.zeros(1, dtype=torch.bfloat16), torch.ones(1)).item() == pytest.approx(log(2), abs=1e-2)


def test_bce_stays_finite_far_out() -> None:
    assert bce(torch.tensor([-1e4, 1e4]), torch.tensor([1.0, 1.0])).tolist() == [1e4, 0.0]


def test_mse_by_hand() -> None:
    assert mse(torch.tensor([1.0, -2.0]), torch.tensor([3.0, -2.0])).tolist() == [4.0, 0.0]


def test_clipped_mse_by_hand() -> None:
    values = torch.tensor([0.1, 0.9, 0.9, -0.5], requires_grad=True)
    old = torch.zeros(4)
    targets = torch.tensor([1.0, 1.0, -1.0, 1.0])
    loss = clipped_mse(values, old, targets, clip=0.2)
    # inside; moved too far towards the target: (0.2 - 1)^2; too far away from it: the larger, unclipped; likewise
    torch.testing.assert_close(loss, torch.tensor([0.81, 0.64, 3.61, 2.25]))
    loss.sum().backward()
    # only the one that had already gone far enough towards its target is held
    torch.testing.assert_close(values.grad, torch.tensor([-1.8, 0.0, 3.8, -3.0]))
