"""Layers that give the same numbers in less time, in place of a model's own while a context lasts.

The model itself is not changed, and a layer that none of the choices knows stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn

from espalier.models.linears import fast_linear, prefers_onednn
from espalier.models.norms import fast_norm
from espalier.models.rotary import fast_rotary

Choice = Callable[[nn.Module], Callable[..., Any] | None]
"""Another forward for a module, or None."""


def fast_layers(model: nn.Module) -> AbstractContextManager[None]:
    """Within this context a forward pass is faster; gradients may be taken later."""
    return swapped(model, fast_norm, fast_rotary, *([fast_linear] if prefers_onednn() else []))


@contextmanager
def swapped(model: nn.Module, *choices: Choice) -> Iterator[None]:
    """Within this context each module runs the first forward that a choice has for it."""
    changed: list[nn.Module] = []
    try:
        for module in model.modules():
            if "forward" in vars(module):
                continue
            forward = next(filter(None, (choice(module) for choice in choices)), None)
            if forward is not None:
                vars(module)["forward"] = forward  # found before the class's own
                changed.append(module)
        yield
    finally:
        for module in changed:
            del vars(module)["forward"]
