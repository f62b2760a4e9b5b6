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
from espalier.models.products import attend, seen

NAME = "espalier_tree"
MANY_KEYS = 600  # to a query: from here on PyTorch's fused kernel is faster than plain products


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
    """The registered function: SDPA without a tree, and with one, whichever way is fastest on the device.

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
    if dropout or tree.mean_keys > MANY_KEYS:
        return _attend_sdpa(query, key, value, tree, dropout, scaling), None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query[0], key[0], value[0], tree, scale)[None], None


def _attend_sdpa(
    query: Tensor, key: Tensor, value: Tensor, tree: Plan, dropout: float, scaling: float | None
) -> Float[Tensor, "1 tokens heads value_width"]:
    """The same blocks through PyTorch's attention: it knows dropout, and never makes the table of a block."""
    outputs = []
    for block in tree.blocks:
        everyone = block.keys - block.mask.shape[1]
        out = F.scaled_dot_product_attention(
            query[:, :, block.start : block.end],
            seen(key[0], block)[None],
            seen(value[0], block)[None],
            attn_mask=F.pad(block.mask, (everyone, 0)).to(query.dtype),
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=key.shape[1] != query.shape[1],
        )
        outputs.append(out.transpose(1, 2))
    return torch.cat(outputs, 1)


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
