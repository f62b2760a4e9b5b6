"""Were a model's weights written since? What they computed (held states, log-probs) is then of another model.

An in-place write raises a tensor's version counter, and a tensor that was replaced is another one or lies elsewhere.
PyTorch's fused optimisers do not raise it, so a hook does that after the step of every optimiser. Only writes through
`parameter.data` pass unseen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor
from torch.autograd.graph import increment_version
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from espalier.models.adapters import lora_layers
from espalier.models.model import Model


def _count_write(optimiser: Optimizer, args: Any, kwargs: Any) -> None:
    for group in optimiser.param_groups:
        increment_version(group["params"])


register_optimizer_step_post_hook(_count_write)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one moment.

    Attributes:
        tensors: each with an alias that keeps its memory (so that no other tensor can come to lie there) and the number
            of writes to it; None where PyTorch does not count them (a model made in inference mode).
        switches: of the adapters.
    """

    tensors: list[tuple[Tensor, Tensor, int]] | None
    switches: list[Any]

    @classmethod
    def of(cls, model: Model) -> Weights:
        held = (chain(module._parameters.values(), module._buffers.values()) for module in model.modules())
        found = [tensor for tensor in chain.from_iterable(held) if tensor is not None]
        tensors = (
            None
            if any(tensor.is_inference() for tensor in found)
            else [(tensor, tensor.detach(), tensor._version) for tensor in found]
        )
        layers: Any = lora_layers(model.hf).values()
        return cls(tensors, [(layer.disable_adapters, layer.merged, [*layer.active_adapters]) for layer in layers])

    def same(self, other: Weights) -> bool:
        """Whether nothing was written between the two moments."""
        if self.tensors is None or other.tensors is None or len(self.tensors) != len(other.tensors):
            return False
        return self.switches == other.switches and all(
            a is b and old.data_ptr() == new.data_ptr() and before == after
            for (a, old, before), (b, new, after) in zip(self.tensors, other.tensors, strict=True)
        )
