"""Who continues a text. The protocol needs no torch; an engine is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espalier.engines.base import Engine, Sampling

if TYPE_CHECKING:
    from espalier.engines.local import LocalEngine
    from espalier.engines.parity import Parity, replay
    from espalier.engines.vllm import VLLMEngine

__all__ = ["Engine", "LocalEngine", "Parity", "Sampling", "VLLMEngine", "replay"]

_HOMES = {"LocalEngine": "local", "Parity": "parity", "replay": "parity", "VLLMEngine": "vllm"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
