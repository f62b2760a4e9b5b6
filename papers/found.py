"""Which papers there are: every `papers/<chapter>/p*.py` that declares a `PAPER` and a `measure`."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path

from espalier.errors import EspalierError
from papers.paper import Measure, Paper

HERE = Path(__file__).parent
INDEX = Path(os.environ.get("ESPALIER_SHARED", HERE.parents[1] / "shared")) / "papers.jsonl"


class PaperError(EspalierError):
    """A paper that is not there, or a file that is not one."""


def files(chapter: str | None = None) -> dict[str, Path]:
    """Where each paper is, by id; the id is the beginning of the file's name."""
    found: dict[str, Path] = {}
    for path in sorted(HERE.glob(f"{chapter or '*'}/p[0-9]*.py")):
        name = path.stem.split("_")[0].upper()
        if name in found:
            raise PaperError(f"{path} and {found[name]} are both {name}")
        found[name] = path
    if chapter and not found:
        chapters = sorted({path.parent.name for path in HERE.glob("*/p[0-9]*.py")})
        raise PaperError(f"chapter {chapter!r} has no papers; there are {', '.join(chapters)}")
    return found


def load(path: Path) -> tuple[Paper, Measure]:
    """The declaration and the measurement of one file."""
    module = import_module(f"papers.{path.parent.name}.{path.stem}")
    paper, measure = getattr(module, "PAPER", None), getattr(module, "measure", None)
    if not isinstance(paper, Paper) or not callable(measure):
        raise PaperError(f"{path}: a paper file has PAPER = Paper(...) and def measure(seed, smoke)")
    if not path.stem.startswith(paper.id.lower() + "_"):
        raise PaperError(f"{path}: the file's name should begin with {paper.id.lower()}_")
    object.__setattr__(paper, "chapter", path.parent.name)
    return paper, measure


def chosen(ids: list[str], chapter: str | None = None) -> list[Path]:
    """The files of these papers, or of the whole chapter, or of all."""
    every = files(chapter)
    unknown = [name for name in ids if name.upper() not in every]
    if unknown:
        raise PaperError(f"no such paper: {', '.join(unknown)}; `python -m papers list` shows what there is")
    return [every[name.upper()] for name in ids] if ids else list(every.values())


def index() -> dict[str, dict[str, str]] | None:
    """The index of published results, by id; None where it is not beside this checkout."""
    if not INDEX.exists():
        return None
    rows = [json.loads(line) for line in INDEX.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: row for row in rows}
