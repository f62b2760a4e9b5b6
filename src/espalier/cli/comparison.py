"""A comparison of strategies as a report: the curves, the table, the paired differences, and what an answer costs."""

from __future__ import annotations

from rich.table import Table

from espalier.audit.intervals import Interval
from espalier.audit.search import Comparison, Point
from espalier.report import Curve, Difference, Report, Row, ShownTree
from espalier.trees import Prices


def comparison_report(found: Comparison, prices: Prices | None = None) -> Report:
    """What the page shows."""
    unit = "tokens" if prices is None else "money"
    names = list(dict.fromkeys(point.strategy for point in found.points))
    rows = [
        Row(f"{point.strategy} @{point.budget}", point.accuracy, point.generated, point.scored, point.cost.seconds)
        for point in found.points
    ]
    differences = [
        Difference(f"{pick.strategy} - {name} @{pick.budget}", turned(other.difference))
        for pick in found.picks
        for name, other in pick.against.items()
    ]
    facts = {"problems": str(len(next(iter(found.found.values())).forest))}
    for pick in found.picks:
        cheapest = min(
            (point for point in found.points if point.budget == pick.budget), key=lambda p: p.cost_of_pass.estimate
        )
        amount = f"{cheapest.strategy}, {written(cheapest.cost_of_pass)} {unit}"
        facts[f"cheapest right answer @{pick.budget}"] = amount
    summary = "Which strategy to take: " + "; ".join(str(pick) for pick in found.picks) + "."
    curves = [_curve(name, [point for point in found.points if point.strategy == name]) for name in names]
    return Report("Strategies compared", summary, facts, rows, differences, curves, trees=_shown(found))


def turned(interval: Interval) -> Interval:
    """The difference the other way round."""
    return Interval(
        -interval.estimate, -interval.high, -interval.low, interval.n, interval.missing, interval.level, interval.method
    )


def written(interval: Interval) -> str:
    """An amount with its interval."""
    return f"{interval.estimate:,.4g} [{interval.low:,.4g}, {interval.high:,.4g}]"


def cost_table(found: Comparison, prices: Prices | None = None) -> Table:
    """What an answer and what a right answer costs."""
    unit = "tokens" if prices is None else "money"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("strategy")
    for name in ("budget", "accuracy", "an answer", f"a right answer ({unit})", "95 % interval", "cut"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in found.points:
        of = point.cost_of_pass
        table.add_row(
            point.strategy,
            f"{point.budget:,}",
            f"{point.accuracy.estimate:.1%}",
            f"{_cost(point):,.4g}",
            f"{of.estimate:,.4g}",
            f"[{of.low:,.4g}, {of.high:,.4g}]",
            f"{point.cut:.0%}",
        )
    return table


def _cost(point: Point) -> float:
    return point.generated if point.money is None else point.money


def _curve(name: str, points: list[Point]) -> Curve:
    at = sorted(points, key=lambda point: point.generated)
    return Curve(
        name,
        [point.generated for point in at],
        [point.accuracy.estimate for point in at],
        [point.accuracy.low for point in at],
        [point.accuracy.high for point in at],
    )


def _shown(found: Comparison) -> list[ShownTree]:
    """A few problems of the largest budget's pick."""
    pick = found.picks[-1]
    best = found.found[pick.strategy, pick.budget]
    pairs = list(zip(best.forest, best.answers, strict=True))[:5]
    return [
        ShownTree(tree, chosen=[answer] if answer is not None else [], title=tree.prompt.strip())
        for tree, answer in pairs
    ]
