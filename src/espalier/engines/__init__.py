"""Who continues a text. The protocol needs no torch; an engine is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espalier.engines.base import Engine, Sampling

if TYPE_CHECKING:
    from espalier.engines.calculator import Calculator
    from espalier.engines.local import LocalEngine
    from espalier.engines.parity import Parity, replay
    from espalier.engines.tools import Call, Hint, Tool, ToolEngine
    from espalier.engines.vllm import VLLMEngine

__all__ = [
    "Calculator",
    "Call",
    "Engine",
    "Hint",
    "LocalEngine",
    "Parity",
    "Sampling",
    "Tool",
    "ToolEngine",
    "VLLMEngine",
    "replay",
]

_HOMES = {
    "LocalEngine": "local",
    "Parity": "parity",
    "replay": "parity",
    "VLLMEngine": "vllm",
    "Calculator": "calculator",
    **dict.fromkeys(("Call", "Hint", "Tool", "ToolEngine"), "tools"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
