"""Linear layers through oneDNN, forward and backward, on processors where it is the faster library.

PyTorch sends fp32 matrix products to MKL, which leaves half of the speed of an AMD processor unused; oneDNN computes
the same products, in fp32, at twice that rate. On Intel's, MKL is slightly ahead. The model itself is not changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D


@cache
def prefers_onednn() -> bool:
    """Whether this processor multiplies fp32 matrices faster through oneDNN."""
    return _operator() is not None and "AMD" in str(torch.cpu.get_capabilities().get("cpu_name", ""))


def fast_linear(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Another forward, through oneDNN, for an ordinary linear layer in fp32 on a CPU."""
    return None if _operator() is None or _weight(module) is None else partial(_forward, module)


def _forward(module: nn.Module, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
    weight = _weight(module)
    if weight is None or x.dtype != weight.dtype or torch.is_autocast_enabled(x.device.type):
        return type(module).forward(module, x)
    out: Tensor = _Linear.apply(x, weight, module.bias)
    return out


def _weight(module: nn.Module) -> Float[Tensor, "out in"] | None:
    """The weight of an ordinary linear layer in fp32 on a CPU; None for anything else."""
    if type(module) not in (nn.Linear, Conv1D):
        return None
    weight = module.weight
    assert isinstance(weight, Tensor)
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    return weight if type(module) is nn.Linear else weight.t()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        return (
            _product(grad, weight.t()) if need_x else None,
            _product(rows.t(), x.flatten(0, -2).t()) if need_weight else None,
            rows.sum(0) if need_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    operator = _operator()
    assert operator is not None
    return operator(x, weight, bias, "none", [], "")


@cache
def _operator() -> Callable[..., Tensor] | None:
    # PyTorch's own compiler uses this operator; a build without oneDNN does not have it.
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
