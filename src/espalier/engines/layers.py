"""Faster layers while an engine samples; the model itself is not changed.

fp32 linear layers run through the library that is the faster on this processor. In bf16 they keep a copy of their
weights in bf16, made once for as long as the weights stay as they are, where autocast would cast frozen weights at each
step. RMS norms run as one operator instead of six, where that gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from espalier.models.linears import fast_linears, prefers_onednn
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
    trunk: nn.Module = hf.base_model
    changed: list[nn.Module] = []
    with ExitStack() as stack:
        if precision == "fp32" and prefers_onednn():
            stack.enter_context(fast_linears(hf))
        try:
            for module in trunk.modules():
                forward = _norm(module) or (_cast(module, casts) if precision == "bf16" else None)
                if forward is not None and "forward" not in vars(module):
                    vars(module)["forward"] = forward  # found before the class's own
                    changed.append(module)
            stack.enter_context(matrix_products(precision, hf.device))
            yield
        finally:
            for module in changed:
                del vars(module)["forward"]


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


def _norm(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """`F.rms_norm` for a module that computes just that; families differ in what they do with the weight."""
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or not isinstance(weight, Tensor) or eps is None:
        return None
    trial = torch.linspace(-2, 3, len(weight), device=weight.device, dtype=weight.dtype)[None]
    swapped = partial(F.rms_norm, normalized_shape=weight.shape, weight=weight, eps=eps)
    return swapped if torch.allclose(swapped(trial), module(trial), rtol=1e-5, atol=1e-5) else None
