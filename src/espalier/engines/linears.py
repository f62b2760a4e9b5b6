"""Faster linear layers while an engine samples on a CPU; the model itself is not changed.

PyTorch sends fp32 matrix products to MKL, which leaves half of the speed unused on processors that are not Intel's.
oneDNN computes the same products, in fp32, at twice that rate. Its operator has no gradient, so it serves only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@contextmanager
def fast_linears(model: nn.Module) -> Iterator[None]:
    """Within this context the model's fp32 linear layers on a CPU run through oneDNN, without gradients."""
    # PyTorch's own compiler uses this operator; a build without oneDNN does not have it.
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
    changed: list[nn.Module] = []
    try:
        for module in model.modules():
            weight = _weight(module)
            if operator is not None and weight is not None and "forward" not in vars(module):
                product = partial(_product, operator, weight, getattr(module, "bias", None))
                vars(module)["forward"] = product  # found before the class's own
                changed.append(module)
        yield
    finally:
        for module in changed:
            del vars(module)["forward"]


def _weight(module: nn.Module) -> Float[Tensor, "out in"] | None:
    """The weight of an ordinary linear layer in fp32 on a CPU; None for anything else."""
    if type(module) not in (nn.Linear, Conv1D):
        return None
    weight = module.weight
    assert isinstance(weight, Tensor)
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    return weight if type(module) is nn.Linear else weight.t()


def _product(operator: Callable[..., Tensor], weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return operator(x, weight, bias, "none", [], "")
