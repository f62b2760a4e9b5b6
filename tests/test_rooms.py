"""The walls between the rooms of docs/architecture.md hold, and `import espalier` stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import espalier

SOURCE = Path(espalier.__file__).parent
ARCHITECTURE = SOURCE.parents[1] / "docs" / "architecture.md"

ORDER = (
    *("trees", "sandbox", "losses", "models", "engines", "scorers", "search"),
    *("curation", "training", "audit", "report", "cli"),
)
"""A room imports from those before it."""

WALLS = {"losses": {"trees"}, "engines": {"losses"}, "audit": {"training"}}
"""What a room must not know although it comes before."""

WORLDS = (
    *("espalier.errors", "espalier.trees", "espalier.engines.base"),
    *(f"espalier.scorers.{name}" for name in ("base", "leaves", "answers", "verifiers")),
)
"""What a room beside the others may import: a task grows trees and verifies them, and needs no model."""

ASIDE = {"worlds": ("cli",), "exact": ()}
"""The rooms beside the others, and who may import them."""


def room(module: str) -> str:
    """The folder or file right under the package: "trees" for `espalier.trees.node`."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Every module of Espalier that a file imports, wherever in the file, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A module's package is its parent, that of an __init__ is itself.
            package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            found = [f"{module}.{alias.name}" for alias in node.names] if module == "espalier" else [module]
        else:
            continue
        for module in found:
            homed = espalier._HOMES.get(module.removeprefix("espalier."), module)
            yield node.lineno, homed


def forbidden(importer: str, imported: str) -> str | None:
    """Why one module must not import another, or None where it may."""
    if imported.split(".")[0] != "espalier" or imported in ("espalier", "espalier.__version__"):
        return None
    mine, theirs = room(importer), room(imported)
    if mine in ASIDE:
        allowed = theirs == mine or any(imported == name or imported.startswith(f"{name}.") for name in WORLDS)
        return None if allowed else f"{mine} may import only from {', '.join(WORLDS)}"
    if theirs in ("errors", mine):
        return None
    if mine in ("", "__main__"):
        return None if mine and theirs == "cli" else "the package itself imports no room; it names them in _HOMES"
    if theirs in ASIDE:
        return None if mine in ASIDE[theirs] else f"only {' and '.join(ASIDE[theirs]) or 'tests'} may import {theirs}"
    if mine not in ORDER or theirs not in ORDER:
        return "a room that docs/architecture.md does not have"
    if ORDER.index(theirs) > ORDER.index(mine):
        return f"{theirs} comes after {mine}"
    return f"{mine} must not know {theirs}" if theirs in WALLS.get(mine, ()) else None


def modules() -> list[tuple[Path, str]]:
    names = [(path, path.relative_to(SOURCE.parent).with_suffix("")) for path in sorted(SOURCE.rglob("*.py"))]
    return [(path, ".".join(part for part in name.parts if part != "__init__")) for path, name in names]


def test_no_import_breaks_a_wall() -> None:
    broken = [
        f"{path.relative_to(SOURCE.parent)}:{line} imports {imported}: {why}"
        for path, name in modules()
        for line, imported in imports(path, name)
        if (why := forbidden(name, imported))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("importer", "code", "breaks"),
    [
        ("espalier.search.beam", "def f():\n    from espalier.training import loop", True),
        ("espalier.search.beam", "from ..training.loop import run", True),
        ("espalier.search.beam", "from .. import report", True),
        ("espalier.search.beam", "from espalier import load", False),
        ("espalier.losses.dpo", "import espalier.trees.node", True),
        ("espalier.losses.dpo", "from espalier import Forest", True),
        ("espalier.engines.local", "from espalier.losses.divergences import kl", True),
        ("espalier.audit.accuracy", "from espalier.training import metrics", True),
        ("espalier.worlds.arithmetic", "from espalier.models import load", True),
        ("espalier.worlds.arithmetic", "from espalier.scorers.base import Scorer", False),
        ("espalier.worlds.arithmetic", "from espalier.scorers.models import ValueScorer", True),
        ("espalier.training.loop", "from espalier.worlds import Arithmetic", True),
        ("espalier.exact.tilted", "from espalier.losses import dpo", True),
        ("espalier.exact.engine", "from espalier.engines.base import Sampling", False),
        ("espalier.losses.policy", "from espalier.exact import tilted", True),
        ("espalier.attic.old", "from espalier.trees import Node", True),
        ("espalier.trees.node", "import espalier.errors, json", False),
    ],
)
def test_the_check_sees_imports_of_every_kind(tmp_path: Path, importer: str, code: str, breaks: bool) -> None:
    path = tmp_path / "module.py"
    path.write_text(code)
    assert any(forbidden(importer, imported) for _, imported in imports(path, importer)) is breaks


def test_the_page_and_this_test_name_the_same_rooms() -> None:
    rows = re.findall(r"^\| `(\w+)/` \|", ARCHITECTURE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert tuple(rows) == (*ORDER, *ASIDE)
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert folders <= {*ORDER, *ASIDE}, "a folder that is no room"


def loaded_by(code: str) -> set[str]:
    """The top-level packages in memory after some code has run in a fresh interpreter."""
    shown = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True).stdout.split())


def test_importing_espalier_loads_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "pyarrow", "polars", "numpy", "sklearn", "scipy", "plotly", "pydantic"}
    assert not loaded_by("import espalier") & heavy


def test_the_trees_never_load_torch() -> None:
    names = [name for path, name in modules() if room(name) == "trees"]
    use = "\n".join(f"import {name}" for name in names)
    assert not loaded_by(use) & {"torch", "transformers"}
    assert not loaded_by("import espalier.trees") & {"pyarrow", "polars"}, "they are loaded where a file is opened"
    for path, name in modules():
        if room(name) == "trees":
            code = ast.parse(path.read_text(encoding="utf-8"))
            found = [alias.name for node in ast.walk(code) if isinstance(node, ast.Import) for alias in node.names]
            found += [node.module or "" for node in ast.walk(code) if isinstance(node, ast.ImportFrom)]
            assert not [module for module in found if module.split(".")[0] == "torch"], path
