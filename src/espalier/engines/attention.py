"""Attention of our own in unmodified Hugging Face models, through their attention registry.

The model runs with `use_cache=False` and sees no cache at all: each layer hands the queries, keys and values of the new
tokens to the `attend` keyword of the forward call, which keeps them and looks up what came before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface

from espalier.errors import EngineError

NAME = "espalier_cached"

Attend = Callable[[int, Tensor, Tensor, Tensor, float | None], Tensor]
"""(layer, queries, keys, values, scaling) -> what the layer's attention gives."""


def cached_attention(
    module: nn.Module,
    query: Float[Tensor, "rows heads queries width"],
    key: Float[Tensor, "rows kv_heads queries width"],
    value: Float[Tensor, "rows kv_heads queries value_width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    attend: Attend | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows queries heads value_width"], None]:
    """The registered function: hands the layer's queries, keys and values to `attend`."""
    if attend is None:
        raise EngineError(
            f"{type(module).__name__} does not pass keywords on to its attention; the local engine needs it"
        )
    for name in ("softcap", "s_aux", "position_bias", "sinks"):
        if kwargs.get(name) is not None:
            raise EngineError(f"{type(module).__name__} uses {name} in its attention; the local engine has none")
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # rotation may have made them fp32 again
        dtype = torch.get_autocast_dtype(kind)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    return attend(int(module.layer_idx), query, key, value, scaling), None  # type: ignore[arg-type]


AttentionInterface.register(NAME, cached_attention)
