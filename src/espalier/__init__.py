"""Espalier: train, search and audit language models on trees of reasoning.

>>> import espalier as esp
>>> forest = esp.Forest([esp.Tree(esp.Node("1+1=", "prompt"))])

Names below are imported when they are first used, so that `import espalier` stays fast and does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES: dict[str, str] = {
    **dict.fromkeys(("Forest", "Ledger", "Node", "Score", "Tree", "read"), "espalier.trees"),
    **dict.fromkeys(("load", "from_config", "train_tokenizer"), "espalier.models"),
}

__all__ = sorted(_HOMES)  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'espalier' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
