"""Settings of the tiny models that tests are run with."""

from __future__ import annotations

from typing import Any


def config(family: str, size: int = 16, layers: int = 1, kv_heads: int = 2, **more: Any) -> dict[str, Any]:
    """A model of `size` hidden numbers and two attention heads, for `from_config`."""
    return {
        "model_type": family,
        "hidden_size": size,
        "intermediate_size": 2 * size,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": kv_heads,
        **more,
    }
