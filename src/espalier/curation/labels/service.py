"""Label a forest into a folder, tree by tree: what is done is on disk, and a run that was stopped goes on after it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espalier.curation.labels.completer import Completer, Method, drive
from espalier.errors import ConfigError
from espalier.trees import Forest, ForestWriter, Ledger, Tree

NOTE = "labels.json"


def label_forest(
    forest: Forest,
    method: Method,
    completer: Completer,
    out: str | os.PathLike[str],
    *,
    batch: int = 32,
    split: Callable[[Tree], Tree] = Tree.copy,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, Ledger], None] = lambda done, total, spent: None,
) -> Ledger:
    """Write the forest's trees with step labels to the folder `out`; returns what all of it cost.

    Trees are labelled `batch` at a time and written whole. However a run ends, the batches that were done are kept,
    and the next call begins with the first tree that is not there; since what a prefix draws depends on the prefix and
    the seed alone, the labels are those of an uninterrupted run.

    Args:
        forest: with steps as nodes, or to be cut by `split`; left as it is.
        batch: trees labelled side by side.
        split: makes a copy of a tree whose nodes are steps.
        settings: noted beside the forest, in labels.json; a run that goes on must have the same.
        progress: called after every batch with the trees done, their number and the cost so far.

    Raises:
        ConfigError: the folder was begun with other settings.
    """
    folder, before = Path(out), completer.spent
    spent = _begun(folder / NOTE, dict(settings or {}))
    with ForestWriter(folder, append=True) as writer:
        progress(len(writer), len(forest), spent)
        for start in range(len(writer), len(forest), batch):
            trees = [split(tree) for tree in forest[start : start + batch]]
            drive(trees, method, completer)
            for tree in trees:
                writer.write(tree)
            writer.flush()
            spent, before = spent + (completer.spent - before), completer.spent
            _note(folder / NOTE, dict(settings or {}), spent)
            progress(len(writer), len(forest), spent)
    return spent


def _begun(note: Path, settings: dict[str, Any]) -> Ledger:
    """What was spent so far under the same settings."""
    settings = json.loads(json.dumps(settings))
    if not note.exists():
        note.parent.mkdir(parents=True, exist_ok=True)
        _note(note, settings, Ledger())
        return Ledger()
    found = json.loads(note.read_text())
    for key in sorted(found["settings"].keys() | settings.keys()):
        if found["settings"].get(key) != settings.get(key):
            raise ConfigError(
                f"{note}: was begun with {key} = {found['settings'].get(key)!r}, but this call says "
                f"{settings.get(key)!r}; go on with the same, or choose another folder"
            )
    return Ledger(**found["spent"])


def _note(note: Path, settings: dict[str, Any], spent: Ledger) -> None:
    aside = note.with_suffix(".tmp")
    aside.write_text(json.dumps({"settings": settings, "spent": asdict(spent)}))
    aside.replace(note)
