"""The one record: trees of reasoning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from espalier.trees.code import read_humaneval
from espalier.trees.forest import Forest
from espalier.trees.ledger import Ledger, Prices
from espalier.trees.node import AUTHORS, STOPS, Author, Node, Score, Stop, Tree
from espalier.trees.readers import read
from espalier.trees.streams import Stream, put_stream, read_stream
from espalier.trees.views import Group, Pair, chains, first_error, groups, pairs, split_steps, steps

if TYPE_CHECKING:
    from espalier.trees.parquet import ForestWriter
    from espalier.trees.stored import open_forest

__all__ = [
    "AUTHORS",
    "STOPS",
    "Author",
    "Forest",
    "ForestWriter",
    "Group",
    "Ledger",
    "Node",
    "Pair",
    "Prices",
    "Score",
    "Stop",
    "Stream",
    "Tree",
    "chains",
    "first_error",
    "groups",
    "open_forest",
    "pairs",
    "put_stream",
    "read",
    "read_humaneval",
    "read_stream",
    "split_steps",
    "steps",
]


def __getattr__(name: str) -> Any:
    homes = {"ForestWriter": "parquet", "open_forest": "stored"}  # they load pyarrow, which most work never needs
    if name in homes:
        return getattr(import_module(f"espalier.trees.{homes[name]}"), name)
    raise AttributeError(f"module 'espalier.trees' has no attribute {name!r}")
