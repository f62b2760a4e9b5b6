"""The report's plots: accuracy against tokens, training curves, reliability, over-optimisation."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from markupsafe import Markup

from espalier.report.parts import Curve, Overoptimisation, Reliability
from espalier.report.svg import Axis, Frame, chart, legend, tag

DRAWN = 160
"""More points than this in a small chart are drawn as bucket means."""
SMOOTH = 10
"""Steps that a running mean goes over."""


def whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _both(curves: Sequence[Curve]) -> list[float]:
    return [value for curve in curves for value in (*curve.y, *curve.low, *curve.high)]


def accuracy_chart(curves: Sequence[Curve], size: tuple[int, int] = (880, 360)) -> Markup:
    """Accuracy against generated tokens a problem, which are on a log scale: twice the compute is one step."""
    x = Axis.around([value for curve in curves for value in curve.x], "generated tokens per problem", log=True)
    y = Axis.around(_both(curves), "accuracy", write=whole_percent)
    return chart(curves, x, y, size, "Accuracy against generated tokens per problem, with 95 % intervals")


def _over_steps(name: str, title: str, rows: Sequence[Mapping[str, float]]) -> Curve | None:
    """A metric over the steps that have it; None where no step has a finite value.

    Long runs are drawn as the mean of neighbouring steps, in a band from the smallest to the largest of them.
    """
    points = [(float(row["step"]), float(row[name])) for row in rows if row.get(name) is not None]
    if not any(math.isfinite(value) for _, value in points):
        return None
    each = math.ceil(len(points) / DRAWN)
    buckets = [points[i : i + each] for i in range(0, len(points), each)]
    values = [[value for _, value in bucket] for bucket in buckets]
    return Curve(
        title,
        [sum(step for step, _ in bucket) / len(bucket) for bucket in buckets],
        [sum(bucket) / len(bucket) for bucket in values],
        [min(bucket) for bucket in values],
        [max(bucket) for bucket in values],
    )


def _steps(rows: Sequence[Mapping[str, float]], names: Iterable[str]) -> Axis:
    steps = [float(row["step"]) for row in rows if any(row.get(name) is not None for name in names)]
    return Axis(min(steps), max(max(steps), min(steps) + 1), "step", many=4)


def training_chart(name: str, rows: Sequence[Mapping[str, float]], unit: str) -> Markup | None:
    """One metric over the steps that have it; None where no step has a finite value.

    Long runs are drawn as the mean of neighbouring steps, in a band from the smallest to the largest of them.
    A value that is not finite breaks the line.
    """
    curve = _over_steps(name, name, rows)
    if curve is None:
        return None
    y = Axis.around(_both([curve]), unit, many=3)
    return chart([curve], _steps(rows, [name]), y, (320, 170), f"{name} over training steps", markers=False)


def lines_chart(
    title: str,
    lines: Mapping[str, str],
    rows: Sequence[Mapping[str, float]],
    unit: str,
    limits: Sequence[float] = (),
    size: tuple[int, int] = (420, 230),
) -> Markup | None:
    """Several metrics of one unit over the training steps, by their names in the legend; None where none has a value.

    A line is the mean of the last `SMOOTH` steps that have the metric; the steps themselves lie faintly behind it.

    Args:
        limits: values that a dashed line marks.
    """
    behind = [curve for name, line in lines.items() if (curve := _over_steps(name, line, rows)) is not None]
    if not behind:
        return None
    smoothed = [_over_steps(name, line, _smooth(rows, name)) for name, line in lines.items()]
    found = [curve for curve in smoothed if curve is not None]
    x, y = _steps(rows, lines), Axis.around([*(v for curve in behind for v in curve.y), *limits], unit, many=4)
    spot = Frame(x, y, size)
    left, right = spot.x(x.low), spot.x(x.high)
    parts = [tag("line", "honest", x1=left, x2=right, y1=spot.y(limit), y2=spot.y(limit)) for limit in limits]
    for i, curve in enumerate(behind):
        places = [
            (spot.x(at), spot.y(value)) for at, value in zip(curve.x, curve.y, strict=True) if math.isfinite(value)
        ]
        parts.append(tag("path", f"raw s{i}", d="M" + "L".join(f"{at:.1f} {value:.1f}" for at, value in places)))
    bare = [replace(curve, low=curve.y, high=curve.y) for curve in found]
    return chart(bare, x, y, size, f"{title} over training steps", under=Markup("").join(parts), markers=False)


def _smooth(rows: Sequence[Mapping[str, float]], name: str) -> list[dict[str, float]]:
    """A metric's running mean; what is not finite is left out of it."""
    last: deque[float] = deque(maxlen=SMOOTH)
    found = []
    for row in rows:
        if (value := row.get(name)) is not None and math.isfinite(value):
            last.append(value)
            found.append({"step": row["step"], name: sum(last) / len(last)})
    return found


def reliability_chart(of: Reliability) -> Markup:
    """Observed share against forecast; on the diagonal the forecast is honest. Bars count the items."""
    curve = Curve(
        of.name,
        [bin.predicted for bin in of.bins],
        [bin.observed.estimate for bin in of.bins],
        [bin.observed.low for bin in of.bins],
        [bin.observed.high for bin in of.bins],
    )
    x, y = Axis(0, 1, "predicted", write=whole_percent), Axis(0, 1, "observed", write=whole_percent)
    spot = Frame(x, y, (420, 320))
    most = max(bin.count for bin in of.bins)
    under = tag("line", "honest", x1=spot.x(0), y1=spot.y(0), x2=spot.x(1), y2=spot.y(1))
    for bin in of.bins:
        high = spot.y(0) - spot.y(0.18 * bin.count / most)
        count = Markup("<title>{:,} items</title>").format(bin.count)
        under += tag("rect", "count", count, x=spot.x(bin.predicted) - 5, y=spot.y(0) - high, width=10, height=high)
    label = f"Reliability of {of.name}: observed against predicted share, with 95 % intervals"
    return chart([curve], x, y, spot.size, label, under=under)


def overoptimisation_charts(of: Overoptimisation) -> Markup:
    """Proxy and truth along best-of-n: on one paper where both are shares, else one below the other."""
    tried = sorted({*of.proxy.x, *of.true.x})
    n = replace(Axis.around(tried, "n of best-of-n", log=True), at=tuple(tried))
    both = [of.proxy, of.true]
    label = f"Proxy and true reward of best-of-n by {of.name}, with 95 % intervals"
    if all(0 <= value <= 1 for value in _both(both)):
        y = Axis.around(_both(both), "reward", write=whole_percent)
        return legend([curve.name for curve in both]) + chart(both, n, y, (420, 320), label)
    charts = [
        chart([curve], n, Axis.around(_both([curve]), curve.name, many=4), (420, 190), f"{label}: {curve.name}")
        for curve in both
    ]
    return Markup("").join(charts)
