"""Faster linear layers while an engine samples on a CPU; the model itself is not changed.

PyTorch sends fp32 matrix products to MKL, which leaves half of the speed unused on processors that are not Intel's.
oneDNN computes the same products, in fp32, at twice that rate. Its operator has no gradient, so it serves only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D


@contextmanager
def fast_linears(model: nn.Module, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Within this context the model's fp32 linear layers on a CPU run through oneDNN, without gradients.

    Args:
        dtype: compute the layers in this type (bfloat16) from weights copied to it; activations between the layers
            and the layer that gives the logits stay in fp32. None: fp32.
    """
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    changed: list[nn.Module] = []
    try:
        for module in model.modules():
            weight = _weight(module)
            if weight is None or "forward" in vars(module):
                continue
            forward = _product(weight, getattr(module, "bias", None), None if module is head else dtype)
            if forward is not None:
                vars(module)["forward"] = forward  # found before the class's own
                changed.append(module)
        yield
    finally:
        for module in changed:
            del vars(module)["forward"]


def _weight(module: nn.Module) -> Float[Tensor, "out in"] | None:
    """The weight of an ordinary linear layer in fp32 on a CPU; None for anything else."""
    if type(module) not in (nn.Linear, Conv1D):
        return None
    weight = module.weight
    assert isinstance(weight, Tensor)
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    return weight if type(module) is nn.Linear else weight.t()


def _product(weight: Tensor, bias: Tensor | None, dtype: torch.dtype | None) -> Callable[[Tensor], Tensor] | None:
    if dtype is not None:
        cast, cast_bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        return lambda x: nn.functional.linear(x.to(dtype), cast, cast_bias).to(x.dtype)
    # PyTorch's own compiler uses this operator; a build without oneDNN does not have it.
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if operator is None or not torch.backends.mkldnn.is_available():
        return None
    return lambda x: operator(x, weight, bias, "none", [], "")
