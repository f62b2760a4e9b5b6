"""The page of a run folder, drawn again from what lies in it.

metrics.jsonl, */metrics.jsonl   training curves, a phase for each folder
config.toml                      settings, seed, versions
trees/*.parquet                  problems to browse, where audit.json has none
audit.json                       what was reported: see `espalier.report.save`
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from espalier.errors import ConfigError, DataError
from espalier.report.figures import duration
from espalier.report.html import write_html
from espalier.report.parts import Report, ShownTree
from espalier.report.save import from_json
from espalier.trees import Tree
from espalier.trees.stored import open_forest

SHOWN = 5
"""Trees that a page shows of a forest."""


def view_run(folder: str | Path) -> Path:
    """Write `report.html` of a run folder and return its path.

    Raises:
        ConfigError: no such folder, nothing in it to show, or a config.toml that is not TOML.
        DataError: a file in it that cannot be read.
    """
    folder = Path(folder)
    report = read_run(folder)
    return write_html(report, folder / "report.html")


def read_run(folder: Path) -> Report:
    """What a run folder has to say; see `view_run`."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; give the folder that a run wrote")
    audit = folder / "audit.json"
    found = (
        from_json(audit.read_text(encoding="utf-8"), str(audit)) if audit.exists() else Report(folder.resolve().name)
    )
    phases = {
        path.parent: read_rows(path)
        for path in sorted([*folder.glob("metrics.jsonl"), *folder.glob("*/metrics.jsonl")])
    }
    training = {"training" if phase == folder else phase.name: rows for phase, rows in phases.items()}
    config = folder / "config.toml"
    settings = config.read_text(encoding="utf-8") if config.exists() else ""
    report = replace(
        found,
        facts={**_facts(settings, config), **_time(phases), **found.facts},
        training=found.training or training,
        metrics=found.metrics or (_dictionary() if training else {}),
        trees=found.trees or _trees(folder),
        settings=found.settings or settings,
    )
    if not (audit.exists() or report.training or report.trees):
        raise ConfigError(f"{folder}: nothing to show; expected metrics.jsonl, trees/*.parquet or audit.json in it")
    return report


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics file. A last line without its end is one that is still being written, and is left out.

    Raises:
        DataError: a line that is not a JSON object with a step, or holds something other than numbers.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            raise DataError(str(path), number, None, repr(line[:60]), "a JSON object") from None
        if not isinstance(row, dict) or "step" not in row:
            raise DataError(str(path), number, "step", repr(line[:60]), "a JSON object with a step")
        for name, value in row.items():
            if not isinstance(value, int | float | None):
                raise DataError(str(path), number, name, repr(value), "a number")
        rows.append(row)
    return rows


def _dictionary() -> Any:
    from espalier.training.metrics import METRICS  # training loads torch, which a page without training does not need

    return METRICS


def _facts(settings: str, config: Path) -> dict[str, str]:
    """Seed and versions."""
    try:
        tables = tomllib.loads(settings)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{config}: not TOML: {error}") from None
    seed = tables.get("training", {}).get("seed")
    facts = {} if seed is None else {"seed": str(seed)}
    return facts | {name: str(version) for name, version in tables.get("versions", {}).items()}


def _time(phases: dict[Path, Any]) -> dict[str, str]:
    """Wall-clock time, from the `timings.jsonl` beside each metrics file."""
    timings = [phase / "timings.jsonl" for phase in phases if (phase / "timings.jsonl").exists()]
    seconds = sum(row.get("seconds") or 0.0 for path in timings for row in read_rows(path))
    return {"training time": duration(seconds)} if seconds else {}


def _trees(folder: Path) -> list[ShownTree]:
    """The first trees of the newest forest, newest by the number in its name."""
    files = sorted(
        (folder / "trees").glob("*.parquet"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)]
    )
    return [_shown(tree) for tree in open_forest(files[-1])[:SHOWN]] if files else []


def _shown(tree: Tree) -> ShownTree:
    """Coloured by value where there is one, else by the score that most nodes have; chosen is what `meta` calls so."""
    nodes = list(tree.walk())
    counts: dict[str, int] = {}
    for name in (name for node in nodes for name in node.scores):
        counts[name] = counts.get(name, 0) + 1
    score = "value" if "value" in counts or not counts else max(counts, key=lambda name: counts[name])
    return ShownTree(tree, score, chosen=[node for node in nodes if node.meta.get("chosen")])
