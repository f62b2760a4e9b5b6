"""RMS norms in few passes over memory, forward and backward.

y = w x r with r = (mean x^2 + eps)^(-1/2), along the last dimension (Zhang & Sennrich, arXiv:1910.07467, eq. 4). As
transformers writes it, and as PyTorch computes `F.rms_norm` on a CPU, that is a handful of operators forward and two
dozen backward, each of which reads and writes the whole tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_EPS: WeakKeyDictionary[nn.Module, float | None] = WeakKeyDictionary()


def fast_norm(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """Another forward for a module that computes just an RMS norm in fp32; families differ in what the weight does."""
    if module not in _EPS:
        _EPS[module] = _eps(module)
    eps = _EPS[module]
    return None if eps is None else partial(_forward, module, eps)


def rms_norm(
    x: Float[Tensor, "*batch width"], weight: Float[Tensor, "width"], eps: float
) -> Float[Tensor, "*batch width"]:
    """The norm of the last dimension, in the type of `x` and `weight`."""
    if x.device.type != "cpu":  # there PyTorch's own is one kernel
        return F.rms_norm(x, weight.shape, weight, eps)
    out: Tensor = _RMSNorm.apply(x, weight, eps) if torch.is_grad_enabled() else _norm(x, weight, eps)[0]
    return out


def _forward(module: nn.Module, eps: float, x: Tensor) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    if x.dtype != torch.float32 or weight.dtype != torch.float32:
        out: Tensor = type(module).forward(module, x)
        return out
    return rms_norm(x, weight, eps)


def _eps(module: nn.Module) -> float | None:
    """What keeps the norm from dividing by zero, if the module is one: tried with another weight than its own."""
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or not isinstance(weight, Tensor) or eps is None:
        return None
    if len(signature(module.forward).parameters) != 1:  # some take a gate
        return None
    with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
        trial, other = torch.linspace(-2, 3, 2 * len(weight), device=weight.device).view(2, -1)
        expected = torch.func.functional_call(module, {"weight": other}, (trial[None],))
        found = rms_norm(trial[None], other, eps)
    return eps if torch.allclose(found, expected, rtol=1e-5, atol=1e-5) else None


def _norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Float[Tensor, "*batch width"], Float[Tensor, "*batch 1"]]:
    """y and r."""
    r = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(len(weight)).add_(eps).rsqrt_()
    return (x * r).mul_(weight), r


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        y, r = _norm(x, weight, eps)
        ctx.save_for_backward(x, weight, r)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, r = ctx.saved_tensors
        need_x, need_weight, _ = ctx.needs_input_grad
        # A layer norm with these means and scales has the same gradients, but for what flows through its mean.
        grad_x, grad_weight, _ = torch.ops.aten.native_layer_norm_backward(
            grad.contiguous(), x, weight.shape, torch.zeros_like(r), r, weight, None, [need_x, need_weight, False]
        )
        if need_x:
            through_mean = torch.mv(grad.flatten(0, -2), weight).view_as(r)
            grad_x.add_(through_mean.mul_(r).div_(len(weight)))
        return grad_x, grad_weight, None
