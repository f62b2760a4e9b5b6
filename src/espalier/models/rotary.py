"""Rotary positions (Su et al., arXiv:2104.09864) in two passes over queries and keys, forward and backward.

Each pair of a state's numbers, one from either half, turns by its angle; a gradient turns back. As transformers writes
it, a turn is five operators forward and more backward, each of which reads and writes the whole tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType, MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_NAME = "apply_rotary_pos_emb"

Rotate = Callable[..., tuple[Tensor, Tensor]]
"""(query, key, cos, sin, unsqueeze_dim = 1) -> (query, key), both rotated."""


def fast_rotary(module: nn.Module) -> Callable[..., Any] | None:
    """Another forward for a layer that calls its family's rotary function, where that computes just this."""
    forward = type(module).forward
    swapped = _swapped(forward) if _NAME in getattr(getattr(forward, "__code__", None), "co_names", ()) else None
    return None if swapped is None else MethodType(swapped, module)


@cache
def _swapped(forward: FunctionType) -> FunctionType | None:
    """The same code, in which the function's name means another."""
    theirs = forward.__globals__.get(_NAME)
    if theirs is None or not _same(theirs):
        return None

    def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
        plain = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in (q, k, cos, sin))
        if not plain or not q.shape[-1] == k.shape[-1] == cos.shape[-1]:  # some families turn a part of a state
            return theirs(q, k, cos, sin, unsqueeze_dim=unsqueeze_dim)
        cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
        turn = _Rotation.apply if torch.is_grad_enabled() else _turn
        return turn(q, cos, sin), turn(k, cos, sin)

    names = {**forward.__globals__, _NAME: rotate}
    return FunctionType(forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__)


def _same(theirs: Rotate) -> bool:
    """Whether a family's function turns the halves of a state: tried on some numbers."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 3, 8, generator=generator), torch.randn(1, 2, 3, 8, generator=generator)
    cos, sin = torch.randn(2, 1, 3, 8, generator=generator)
    try:
        turned, other = theirs(q, k, cos, sin)
        cos, sin = cos[:, None], sin[:, None]
        return torch.allclose(turned, _turn(q, cos, sin)) and torch.allclose(other, _turn(k, cos, sin))
    except (TypeError, ValueError, RuntimeError, IndexError):  # it takes or gives something else
        return False


def _turn(
    x: Float[Tensor, "batch heads tokens width"], cos: Tensor, sin: Tensor, back: bool = False
) -> Float[Tensor, "batch heads tokens width"]:
    (first, second), (of_first, of_second) = x.chunk(2, -1), sin.chunk(2, -1)
    if back:
        of_first, of_second = -of_second, -of_first
    out = x * cos
    to_first, to_second = out.chunk(2, -1)
    to_first.addcmul_(second, of_first, value=-1)
    to_second.addcmul_(first, of_second)
    return out


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(grad, cos, sin, back=True), None, None
