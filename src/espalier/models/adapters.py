"""LoRA (Hu et al., arXiv:2106.09685) through peft: the reference policy is the adapter switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

ADAPTER = "default"


def add_lora(hf: PreTrainedModel, rank: int, alpha: int, targets: str | list[str]) -> None:
    """Freeze the model and add low-rank updates to the trunk's linear layers; they start as no change at all."""
    trunk: Any = hf.base_model
    layer = hf.get_output_embeddings()
    if layer is not None:
        layer.requires_grad_(False)
    trunk.requires_grad_(False)
    transposed = any(isinstance(module, Conv1D) for module in trunk.modules())  # GPT-2
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, fan_in_fan_out=transposed)
    trunk.add_adapter(config, adapter_name=ADAPTER)


def lora_layers(hf: PreTrainedModel) -> dict[str, Any]:
    """The layers that carry an update, by their name in the model."""
    return {name: module for name, module in hf.named_modules() if isinstance(module, LoraLayer)}


@contextmanager
def adapters_off(layers: dict[str, Any]) -> Iterator[None]:
    # peft also flips requires_grad with the switch; what was frozen must come back frozen.
    trained = [(p, p.requires_grad) for layer in layers.values() for p in layer.parameters()]
    for layer in layers.values():
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers.values():
            layer.enable_adapters(True)
        for parameter, wanted in trained:
            parameter.requires_grad_(wanted)


def merged_state(hf: PreTrainedModel) -> dict[str, Tensor]:
    """The weights as they would be without adapters in the way: each update added to the layer that it belongs to."""
    layers = lora_layers(hf)
    state = {
        name.replace(".base_layer.", "."): tensor.detach()
        for name, tensor in hf.state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in layers.items():
        state[f"{name}.weight"] = (layer.get_base_layer().weight + layer.get_delta_weight(ADAPTER)).detach()
    return state
