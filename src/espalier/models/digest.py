"""A digest of what decides a model's log-probs: its weights, its config and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from espalier.models.adapters import merged_state

if TYPE_CHECKING:
    from espalier.models.model import Model

_IDLE = ("_name_or_path", "architectures", "dtype", "espalier", "transformers_version", "use_cache")
"""Keys of a config that change between saving and loading and do not change a log-prob."""


def model_digest(model: Model, *, adapter: bool = True) -> str:
    """Sixteen hexadecimal digits; heads do not count, as no log-prob depends on them.

    It is computed from the bytes of the weights, about a second for each gigabyte and core, whenever it is asked for.

    Args:
        adapter: False for the model with its LoRA adapter switched off, which is that of the model before it had one.
    """
    hf = model.hf
    if adapter:
        state = merged_state(hf)
    else:
        state = {n.replace(".base_layer.", "."): t for n, t in hf.state_dict().items() if ".lora_" not in n}
    config = {key: value for key, value in hf.config.to_dict().items() if key not in _IDLE}
    about = json.dumps([config, model.fingerprint], sort_keys=True, default=str)
    return _digest(_distinct(state), about)


def _distinct(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor once, under the first of its names: tied weights have several."""
    seen: set[tuple[int, torch.Size]] = set()
    found = {}
    for name, tensor in sorted(state.items()):
        if (place := (tensor.data_ptr(), tensor.shape)) not in seen:
            seen.add(place)
            found[name] = tensor
    return found


def _digest(state: Mapping[str, Tensor], about: str) -> str:
    def one(item: tuple[str, Tensor]) -> bytes:
        name, tensor = item
        found = blake2b(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return found.digest()

    with ThreadPoolExecutor() as pool:  # hashing lets go of the interpreter's lock
        parts = b"".join(pool.map(one, state.items()))
    return blake2b(parts + about.encode(), digest_size=8).hexdigest()
