from __future__ import annotations

import torch

from espalier.losses import nll


def test_nats_of_a_fair_coin() -> None:
    torch.testing.assert_close(nll(torch.tensor([0.5, 1.0]).log()), torch.tensor([0.6931472, 0.0]))


def test_gradient_is_softmax_minus_one_hot() -> None:
    logits = torch.tensor([1.0, 2.0, 0.5], requires_grad=True)
    nll(logits.log_softmax(-1)[1:2]).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - torch.tensor([0.0, 1.0, 0.0]))
