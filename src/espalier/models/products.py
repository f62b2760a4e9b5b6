"""Attention over the blocks of a plan as plain matrix products, with an own backward pass.

On a CPU, for contexts of some hundred tokens, large products beat a fused kernel. The heads that share keys (grouped
queries, arXiv:2305.13245) are rows of one product, so keys are never repeated. The backward pass takes the
probabilities from the forward pass where they are few, and else makes them again (as FlashAttention does,
arXiv:2205.14135), so that what is kept grows with the tokens and not with their square.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from espalier.models.plan import Block, Plan

KEEP = 1024  # the most keys of a block whose probabilities wait for the backward pass


def attend(
    query: Float[Tensor, "heads tokens width"],
    key: Float[Tensor, "kv_heads tokens width"],
    value: Float[Tensor, "kv_heads tokens value_width"],
    tree: Plan,
    scale: float,
) -> Float[Tensor, "tokens heads value_width"]:
    """Each token's mean of the values that it sees, weighed by softmax(scale * query . key), the softmax in fp32."""
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # it does not reach into a Function's backward pass
        dtype = torch.get_autocast_dtype(kind)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    out: Tensor = _Attention.apply(query, key, value, tree, scale)
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: Plan, scale: float) -> Tensor:
        groups, tokens, width = value.shape
        rows = len(query) // groups  # of a token, in each group
        folded = _fold(query, groups, scale)
        out = value.new_empty(groups, tokens * rows, width)
        kept = []
        for block in tree.blocks:
            own = slice(block.start * rows, block.end * rows)
            p = _probabilities(folded[:, own], seen(key, block), block)
            torch.bmm(p, seen(value, block), out=out[:, own])
            kept.append(p if block.keys <= KEEP and any(ctx.needs_input_grad) else None)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.tree, ctx.scale = tree, scale
        return _unfold(out, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        groups, tokens, width = value.shape
        rows = len(query) // groups
        folded, grad = _fold(query, groups, ctx.scale), _fold(grad.transpose(0, 1), groups)
        grad_query = torch.empty_like(folded)
        grad_key = key.new_zeros(tokens, groups, key.shape[2]).transpose(0, 1)
        grad_value = value.new_zeros(tokens, groups, width).transpose(0, 1)
        for block, p in zip(ctx.tree.blocks, kept, strict=True):
            own = slice(block.start * rows, block.end * rows)
            q, g, k = folded[:, own], grad[:, own], seen(key, block)
            if p is None:
                p = _probabilities(q, k, block)
            slope = torch.bmm(g, seen(value, block).transpose(1, 2))
            # p * (slope - the row's sum of p * slope), in one pass
            slope = torch._softmax_backward_data(slope, p, -1, p.dtype)
            torch.bmm(slope, k, out=grad_query[:, own])
            begin = 0
            for first, stop in block.ranges:
                part = slice(begin, begin + stop - first)
                grad_key[:, first:stop].baddbmm_(slope[:, :, part].transpose(1, 2), q)
                grad_value[:, first:stop].baddbmm_(p[:, :, part].transpose(1, 2), g)
                begin = part.stop
        return _unfold(grad_query.mul_(ctx.scale), rows).transpose(0, 1), grad_key, grad_value, None, None


def _probabilities(
    query: Float[Tensor, "groups rows width"], key: Float[Tensor, "groups keys width"], block: Block
) -> Float[Tensor, "groups rows keys"]:
    scores = torch.bmm(query, key.transpose(1, 2))
    queries, masked = block.mask.shape
    scores.unflatten(1, (queries, -1))[..., scores.shape[2] - masked :] += block.mask[:, None]
    if scores.dtype in (torch.float32, torch.float64):
        return torch.softmax(scores, -1, out=scores)
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


def _fold(
    states: Float[Tensor, "heads tokens width"], groups: int, scale: float = 1.0
) -> Float[Tensor, "groups rows width"]:
    """Scaled, with the heads of a group side by side: row `token * heads_of_group + head`."""
    apart = states.unflatten(0, (groups, -1)).transpose(1, 2)
    return torch.mul(apart, scale, out=apart.new_empty(apart.shape)).flatten(1, 2)


def _unfold(folded: Float[Tensor, "groups rows width"], rows: int) -> Float[Tensor, "tokens heads width"]:
    return folded.unflatten(1, (-1, rows)).transpose(0, 1).flatten(1, 2)


def seen(states: Float[Tensor, "groups tokens width"], block: Block) -> Float[Tensor, "groups keys width"]:
    """The keys, or values, of a block."""
    parts = [states[:, start:end] for start, end in block.ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
