"""`espalier audit scorer | policy`: is it really better?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from espalier.report import Report
    from espalier.trees import Forest

app = App(name="audit", help="Is it really better? Every number with its 95 % interval.")


@app.command
def scorer(forest: str, *, score: str = "value", label: str = "correct", out: Path | None = None) -> None:
    """Audit a score against a label: AUC, accuracy, calibration, length, and best-of-n by it.

    For example:

        espalier audit scorer runs/value/trees/held_out.parquet --score value --label label

    Args:
        forest: a scored forest.
        score: the audited score's name.
        label: the score that counts as true.
        out: folder for audit.json and report.html.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from espalier.audit import audit_scorer
    from espalier.report import view_run
    from espalier.report.build import write_report
    from espalier.trees import read

    trees = read(forest)
    found = audit_scorer(trees, score, label)
    console = Console()
    table = Table(title=Text(f"{score} against {label}: {found.answers} answers to {found.problems} problems"))
    for column in ("metric", "value", "meaning"):
        table.add_column(column)
    for row in found.table():
        table.add_row(*map(Text, (row["metric"], row["value"], row["meaning"])))
    console.print(table)
    for reason, count in found.missing.items():
        console.print(f"left out: {count} answers: {reason}", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        write_report(scorer_report(trees, score, label, out.name), out)
        console.print(f"report: {view_run(out)}", markup=False, highlight=False, soft_wrap=True)


@app.command
def policy(
    before: str,
    after: str,
    *,
    by: str = "correct",
    k: Annotated[list[int] | None, Parameter(alias="-k", consume_multiple=True)] = None,
    out: Path | None = None,
) -> None:
    """Compare two policies on the same problems: accuracy, pass@k, and the paired difference.

    For example:

        espalier audit policy runs/judged-before runs/judged-after -k 1 4 8

    Args:
        before: a forest of judged samples of one policy.
        after: the same problems, sampled from the other.
        by: the score that says which answers are right.
        k: for pass@k.
        out: folder for audit.json and report.html.
    """
    from rich.console import Console

    from espalier.audit import accuracy, compare, pass_curve
    from espalier.report import Curve, Difference, Report, Row, print_tables, view_run
    from espalier.report.build import write_report
    from espalier.trees import read

    forests = {"before": read(before).load(), "after": read(after).load()}
    rows, curves = [], []
    for name, trees in forests.items():
        tokens = sum(len(node.token_ids or ()) for node in trees.nodes() if node.parent is not None)
        rows.append(Row(name, accuracy(trees, by), tokens / len(trees), 0.0, 0.0))
        passes = pass_curve(trees, k or [1], by)
        points = list(passes.values())
        curves.append(
            Curve(
                f"pass@k {name}",
                [float(n) for n in passes],
                [p.estimate for p in points],
                [p.low for p in points],
                [p.high for p in points],
            )
        )
    gain = compare(forests["before"], forests["after"], by)
    report = Report(f"{after} against {before}", rows=rows, differences=[Difference("after - before", gain.difference)])
    console = Console()
    print_tables(report, console)
    for curve in curves:
        shown = ", ".join(
            f"{int(n)}: {y:.3f} [{a:.3f}, {b:.3f}]"
            for n, y, a, b in zip(curve.x, curve.y, curve.low, curve.high, strict=True)
        )
        console.print(f"{curve.name}: {shown}", markup=False, highlight=False, soft_wrap=True)
    if out is not None:
        write_report(report, out)
        console.print(f"report: {view_run(out)}", markup=False, highlight=False, soft_wrap=True)


def scorer_report(forest: Forest, score: str, label: str, title: str) -> Report:
    """The audit of a scorer as a report: reliability, the length shortcut, best-of-n by it, and some trees."""
    from espalier.audit import audit_scorer, overoptimisation
    from espalier.errors import AuditError
    from espalier.report import Report, ShownTree
    from espalier.report.build import overoptimisation_part, reliability_part

    audit = audit_scorer(forest, score, label)
    part = reliability_part(audit)
    summary = f"{audit.answers} held-out answers to {audit.problems} problems"
    if audit.auc is not None:
        summary += f": {score} ranks right above wrong with AUC {audit.auc}; length alone {audit.length_auc}."
    if audit.ranking is not None:
        summary += f" Between answers to one problem: {audit.ranking}."
    try:
        points = [overoptimisation_part(score, overoptimisation(forest, score, label))]
    except AuditError:
        points = []  # one answer a problem: nothing to choose from
    shown = [ShownTree(tree, score, label) for tree in forest[:5]]
    return Report(title, summary, reliability=[part] if part else [], overoptimisation=points, trees=shown)
