"""Which numbers a model computes with, by device: bf16 matrix products where the processor has hardware for them.

Sums inside a product, reductions, norms, softmax, log-probs and the weights themselves stay fp32 (mixed precision,
Micikevicius et al., arXiv:1710.03740; bf16: Kalamkar et al., arXiv:1905.12322). What is chosen depends on the
processor's features and the model's width alone, never on a timing, so one machine always chooses the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from espalier.models.model import Model

Precision = Literal["fp32", "bf16"]
Setting = Literal["auto", "fp32", "bf16"]

LEAST_WIDTH = 256
"""Below it the casts cost what the products gain: a width of 96 gained nothing, measured with AMX."""


def resolve_precision(setting: Setting, model: Model) -> Precision:
    """What `setting` means for this model where it is now; "fp32" and "bf16" mean themselves.

    "auto" is bf16 where the device has products of bf16 that sum in fp32, and the model is wide enough to gain.
    """
    if setting != "auto":
        return setting
    width = getattr(model.hf.config.get_text_config(), "hidden_size", None) or 0
    return "bf16" if width >= LEAST_WIDTH and has_bf16(model.device) else "fp32"


def has_bf16(device: torch.device | str) -> bool:
    """Whether the device multiplies bf16 matrices in hardware; elsewhere it is emulated, several times slower."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and _cpu_has_bf16(torch.cpu.get_capabilities())


def matrix_products(precision: Precision, device: torch.device | str) -> AbstractContextManager[object]:
    """Inside, matrix products take this precision; "fp32" leaves them to the type of the weights."""
    if precision == "bf16":
        return torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return nullcontext()


def _cpu_has_bf16(capabilities: Mapping[str, Any]) -> bool:
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))
