"""The report in a terminal: tables, and a tree drawn with coloured values."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from espalier.report import figures
from espalier.report.branches import branches
from espalier.report.colour import Scale
from espalier.report.parts import Difference, Reliability, Report, Row
from espalier.trees import Node, Tree


def tables(report: Report) -> list[RenderableType]:
    """The report's tables, as far as it has data for them."""
    found: list[RenderableType] = []
    if report.rows:
        found.append(_results(report.rows))
    if report.differences:
        found.append(_differences(report.differences))
    if report.reliability:
        found.append(_scorers(report.reliability))
    return found


def print_tables(report: Report, console: Console | None = None) -> None:
    """Print title, summary and tables."""
    console = console or Console()
    console.print(Text(report.title, style="bold"))
    if report.summary:
        console.print(Text(report.summary))
    for table in tables(report):
        console.print()
        console.print(table)


def _results(rows: Sequence[Row]) -> Table:
    table = _table("strategy", "accuracy", "95 % interval", "generated/problem", "scored/problem", "time")
    best = max(row.accuracy.estimate for row in rows)
    for row in rows:
        accuracy = row.accuracy
        table.add_row(
            Text(row.name),
            Text(figures.percent(accuracy.estimate), style="bold green" if accuracy.estimate == best else ""),
            f"[{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]",
            figures.number(row.generated),
            figures.number(row.scored),
            figures.duration(row.seconds),
        )
    return table


def _differences(differences: Sequence[Difference]) -> Table:
    table = _table("paired difference", "points", "95 % interval", "")
    for difference in differences:
        of = difference.interval
        table.add_row(
            Text(difference.name),
            figures.points(of.estimate),
            f"[{figures.points(of.low)}, {figures.points(of.high)}]",
            Text("excludes zero", "green") if difference.excludes_zero else Text("includes zero", "dim"),
        )
    return table


def _scorers(scorers: Sequence[Reliability]) -> Table:
    table = _table("scorer", "AUC", "AUC of length", "ECE")
    for scorer in scorers:
        length = "-" if scorer.length_auc is None else figures.interval(scorer.length_auc)
        ece = "-" if scorer.ece is None else figures.number(scorer.ece)
        table.add_row(Text(scorer.name), figures.interval(scorer.auc), length, ece)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def tree_text(
    tree: Tree, score: str = "value", width: int = 100, correct: str = "correct", chosen: Sequence[Node] = ()
) -> Text:
    """The tree as lines of at most `width` characters: one a step, its value first, coloured as on the page.

    Endings carry ✓ or ✗ where the score named `correct` is known, and ◀ where they are among `chosen`.
    """
    scale = Scale.of([value for node in tree.walk() if (value := node.value(score)) is not None])
    marked = {id(node) for node in chosen}
    text = _cut(Text("● ", "dim"), tree.prompt, "", width)
    is_last: list[bool] = []
    for branch in branches(tree):
        is_last = [*is_last[: branch.level - 1], branch.last]
        above = "".join("   " if last else "│  " for last in is_last[:-1])
        for i, node in enumerate(branch.nodes):
            fork = ("└─ " if branch.last else "├─ ") if i == 0 else ("   " if branch.last else "│  ")
            line = Text("\n").append(above + fork, "dim")
            value = node.value(score)
            if value is None:
                line.append("  -   ", "dim")
            else:
                line.append(f"{value:^6.2f}", Style(color=scale.ink(value), bgcolor=scale.colour(value)))
            text.append_text(_cut(line.append(" "), node.text, _ending(node, correct, id(node) in marked), width + 1))
    return text


def _ending(node: Node, correct: str, is_chosen: bool) -> str:
    value = node.value(correct)
    verdict = "" if value is None else " ✓" if value > 0.5 else " ✗"
    cut = " (cut)" if node.stop == "length" else ""
    return cut + verdict + (" ◀" if is_chosen else "")


def _cut(line: Text, words: str, ending: str, width: int) -> Text:
    """`line` with as many of `words` as the width leaves room for, and `ending` in full."""
    # What a model wrote may hold escape sequences that a terminal would obey, or surrogates that it cannot print.
    said = Text("".join(c if c.isprintable() else "\ufffd" for c in " ".join(words.split())))
    said.truncate(max(8, width - line.cell_len - len(ending)), overflow="ellipsis")
    style = "green" if "✓" in ending else "red" if "✗" in ending else "dim"
    return line.append_text(said).append(ending, style)
