"""Faster layers while an engine samples; the model itself is not changed.

They are those of training. In bf16, linear layers also keep a copy of their weights in bf16, made once for as long as
the weights stay as they are, where autocast would cast frozen weights at each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from espalier.models import layers
from espalier.models.numerics import Precision, matrix_products

Casts = dict[nn.Module, tuple[Tensor, Tensor | None]]
"""Weights and biases in bf16, by layer."""


@contextmanager
def fast_layers(hf: PreTrainedModel, precision: Precision, casts: Casts) -> Iterator[None]:
    """Within this context the model's layers are the faster ones, without gradients.

    In bf16 the output layer stays fp32, as in training.

    Args:
        casts: filled and used in bf16; clear it where the weights change.
    """
    cast = layers.swapped(hf.base_model, partial(_cast, casts=casts)) if precision == "bf16" else nullcontext()
    with cast, layers.fast_layers(hf), matrix_products(precision, hf.device):
        yield


def _cast(module: nn.Module, casts: Casts) -> Callable[[Tensor], Tensor] | None:
    """For an ordinary linear layer with weights in fp32."""
    if type(module) not in (nn.Linear, Conv1D) or module.weight.dtype != torch.float32:
        return None
    if module not in casts:
        weight, bias = module.weight, module.bias
        assert isinstance(weight, Tensor)
        weight = (weight if type(module) is nn.Linear else weight.t()).bfloat16().contiguous()
        casts[module] = weight, bias.bfloat16() if isinstance(bias, Tensor) else None
    return partial(_product, *casts[module])


def _product(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return F.linear(x.to(weight.dtype), weight, bias)
