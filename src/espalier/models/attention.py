"""Attention over packed trees for unmodified Hugging Face models, through their attention registry.

A model whose attention implementation is `NAME` behaves as with "sdpa" (generation included), until its forward is
given a `tree` keyword, which transformers hands on to every layer. The keyword, and not a global, carries the plan so
that a layer which is recomputed in the backward pass (activation checkpointing) finds it again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from espalier.models.plan import Plan

NAME = "espalier_tree"


class UnsupportedAttentionError(Exception):
    """The layer asks for something that tree attention does not compute."""


def tree_attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries width"],
    key: Float[Tensor, "batch kv_heads keys width"],
    value: Float[Tensor, "batch kv_heads keys value_width"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    tree: Plan | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch queries heads value_width"], None]:
    """The registered function: SDPA, over the plan's calls where `tree` is given.

    Raises:
        UnsupportedAttentionError: the layer adds a bias, soft-caps its scores or has sinks.
    """
    if tree is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    for name in ("softcap", "s_aux", "position_bias", "sinks"):
        if kwargs.get(name) is not None:
            raise UnsupportedAttentionError(f"its attention uses {name}")
    if query.is_cuda and not dropout:  # flex attention has no dropout
        return _attend_flex(query, key, value, tree, scaling, _compiled_flex()), None
    return _attend_sdpa(query, key, value, tree, dropout, scaling), None


def _attend_sdpa(
    query: Tensor, key: Tensor, value: Tensor, tree: Plan, dropout: float, scaling: float | None
) -> Float[Tensor, "1 tokens heads value_width"]:
    """Gather the rows of all calls once, attend call by call, gather the tokens back."""
    queries, keys, values = _rows(query, tree.queries), _rows(key, tree.keys), _rows(value, tree.keys)
    grouped = key.shape[1] != query.shape[1]
    outputs = []
    query_sizes = [call.runs * call.queries for call in tree.calls]
    key_sizes = [call.runs * call.keys for call in tree.calls]
    for call, q, k, v in zip(
        tree.calls, queries.split(query_sizes), keys.split(key_sizes), values.split(key_sizes), strict=True
    ):
        out = F.scaled_dot_product_attention(
            q.unflatten(0, (call.runs, call.queries)).transpose(1, 2),
            k.unflatten(0, (call.runs, call.keys)).transpose(1, 2),
            v.unflatten(0, (call.runs, call.keys)).transpose(1, 2),
            attn_mask=None if call.mask is None else call.mask.to(q.dtype),
            dropout_p=dropout,
            is_causal=call.mask is None,
            scale=scaling,
            enable_gqa=grouped,
        )
        outputs.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs).index_select(0, tree.output)[None]


def _rows(states: Float[Tensor, "1 heads tokens width"], rows: Tensor) -> Float[Tensor, "rows heads width"]:
    return states[0].transpose(0, 1).index_select(0, rows)


def _attend_flex(
    query: Tensor, key: Tensor, value: Tensor, tree: Plan, scaling: float | None, flex: Callable[..., Tensor]
) -> Float[Tensor, "1 tokens heads value_width"]:
    """One fused call, for a GPU: the block mask skips what no query of a block sees."""
    grouped = key.shape[1] != query.shape[1]
    out = flex(query, key, value, block_mask=tree.block_mask, scale=scaling, enable_gqa=grouped)
    return out.transpose(1, 2)


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
