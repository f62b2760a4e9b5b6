"""`espalier view`: a run as a page, or a tree in the terminal."""

from __future__ import annotations

from pathlib import Path


def view(path: Path, *, tree: int | None = None, score: str = "value") -> None:
    """Build a run's report.html, or draw a tree of a forest in the terminal.

    For example:

        espalier view runs/demo

        espalier view runs/demo/trees/beam.parquet --tree 3

    Args:
        path: a run folder, or a forest.
        tree: which tree of the forest to draw, from 0.
        score: the score that colours the nodes.
    """
    from rich.console import Console

    from espalier.errors import ConfigError

    console = Console()
    if tree is None and any((path / name).exists() for name in ("config.toml", "audit.json", "trees")):
        from espalier.report import view_run

        console.print(f"report: {view_run(path)}", markup=False, highlight=False, soft_wrap=True)
        return
    from espalier.report import tree_text
    from espalier.trees import read

    forest = read(str(path))
    number = tree or 0
    if not 0 <= number < len(forest):
        raise ConfigError(f"{path}: has trees 0 to {len(forest) - 1}, found --tree {number}")
    console.print(tree_text(forest[number], score=score))
