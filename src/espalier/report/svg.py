"""Line charts as inline SVG: axes, interval bands, markers. No library is sent to the reader, so a page stays small.

Colours come from the page's style sheet (classes `s0` to `s7`), so that charts follow light and dark; each series also
has a marker shape of its own, so that none is told by colour alone. The polylines and the two `data-` attributes of a
chart are all that page.js needs to show values under the pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espalier.report.figures import number
from espalier.report.parts import Curve

SERIES = 8
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 22, 38


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values with a title.

    Attributes:
        low: at the left or bottom.
        high: at the right or top; above `low`.
        title: what is measured, with its unit.
        log: equal ratios, not equal differences, are equally far apart.
        write: how a value is written.
        many: about how many ticks.
        at: where the ticks are, instead of at round values.
    """

    low: float
    high: float
    title: str
    log: bool = False
    write: Callable[[float], str] = number
    many: int = 5
    at: tuple[float, ...] = ()

    @classmethod
    def around(
        cls,
        values: Iterable[float],
        title: str,
        log: bool = False,
        write: Callable[[float], str] = number,
        many: int = 5,
    ) -> Axis:
        """An axis with a little room around the finite values."""
        finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)] or [1.0]
        low, high = min(finite), max(finite)
        if log:
            room = max((high / low) ** 0.05, 1.1)
            return cls(low / room, high * room, title, log, write, many)
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return cls(low - room if low < 0 or low > room else min(low, 0.0), high + room, title, log, write, many)

    def share(self, value: float) -> float:
        """Where the value lies between low (0) and high (1)."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values inside the range.

        >>> Axis(0, 1, "").ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Axis(40, 900, "", log=True).ticks()
        [50.0, 100.0, 200.0, 500.0]
        """
        if self.at:
            return list(self.at)
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                round_values = [s * 10.0**p for p in powers for s in steps if self.low <= s * 10.0**p <= self.high]
                if len(round_values) <= self.many + 1 or steps == (1,):
                    return round_values
        rough = (self.high - self.low) / self.many
        size = 10 ** math.floor(math.log10(rough))
        step = next(s * size for s in (1, 2, 5, 10) if s * size >= 0.75 * rough)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 12) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(
    curves: Sequence[Curve],
    x: Axis,
    y: Axis,
    size: tuple[int, int],
    label: str,
    under: str = "",
    markers: bool = True,
) -> Markup:
    """Curves in a frame.

    Args:
        curves: drawn in order; the i-th has class `s{i}`. A point that is not finite breaks the line.
        x, y: the axes.
        size: width and height in pixels, before the page scales it.
        label: what a screen reader says.
        under: SVG to draw below the curves, in the same pixels.
        markers: whether points are marked and have error bars; lines of very many points are plain.
    """
    width, height = size
    spot = Frame(x, y, size)
    parts = [_axes(spot), under]
    parts += [_band(curve, i % SERIES, spot) for i, curve in enumerate(curves)]
    parts += [_line(curve, i % SERIES, spot, markers) for i, curve in enumerate(curves)]
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}" data-x="{}" data-y="{}">{}</svg>'
    ).format(width, height, label, spot.data(x), spot.data(y), Markup("").join(parts))


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values lie on the paper."""

    x_axis: Axis
    y_axis: Axis
    size: tuple[int, int]

    def x(self, value: float) -> float:
        return LEFT + self.x_axis.share(value) * (self.size[0] - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.size[1] - BOTTOM - self.y_axis.share(value) * (self.size[1] - TOP - BOTTOM)

    def data(self, axis: Axis) -> str:
        """Low, high, their pixels, scale and writing: what page.js needs to turn a pixel into a value."""
        place = self.x if axis is self.x_axis else self.y
        kind = "log" if axis.log else "linear"
        unit = "percent" if axis.write(0.5).endswith("%") else "number"
        return f"{axis.low!r} {axis.high!r} {place(axis.low):.1f} {place(axis.high):.1f} {kind} {unit}"


def tag(name: str, kind: str, inside: str = "", **attributes: float | str) -> Markup:
    """An SVG element of class `kind`; `_` in an attribute's name stands for `-`, numbers are cut to a tenth of a pixel.

    >>> tag("line", "grid", x1=2, x2=3.14159)
    Markup('<line class="grid" x1="2" x2="3.1"></line>')
    """
    written = [(key.replace("_", "-"), f"{v:.1f}" if isinstance(v, float) else v) for key, v in attributes.items()]
    pairs = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in written)
    return Markup('<{0} class="{1}"{2}>{3}</{0}>').format(Markup(name), kind, pairs, inside)


def _axes(spot: Frame) -> Markup:
    (width, height), parts = spot.size, []
    for value in spot.y_axis.ticks():
        at = spot.y(value)
        parts.append(tag("line", "grid", x1=LEFT, x2=width - RIGHT, y1=at, y2=at))
        parts.append(tag("text", "tick end", spot.y_axis.write(value), x=LEFT - 7, y=at + 4))
    floor = height - BOTTOM
    parts.append(tag("line", "axis", x1=LEFT, x2=width - RIGHT, y1=floor, y2=floor))
    for value in spot.x_axis.ticks():
        parts.append(tag("text", "tick middle", spot.x_axis.write(value), x=spot.x(value), y=floor + 16))
    parts.append(tag("text", "title end", spot.x_axis.title, x=width - RIGHT, y=height - 5))
    parts.append(tag("text", "title", spot.y_axis.title, x=2, y=11))
    return Markup("").join(parts)


def _band(curve: Curve, index: int, spot: Frame) -> Markup:
    """The intervals of a line as an area, cut where a point is not finite."""
    parts = []
    for run in _runs(curve):
        if len(run) > 1:
            edge = [(curve.x[i], curve.high[i]) for i in run] + [(curve.x[i], curve.low[i]) for i in reversed(run)]
            corners = " ".join(f"{spot.x(x):.1f},{spot.y(y):.1f}" for x, y in edge)
            parts.append(tag("polygon", f"band s{index}", points=corners))
    return Markup("").join(parts)


def _line(curve: Curve, index: int, spot: Frame, markers: bool) -> Markup:
    parts = []
    for run in _runs(curve):
        places = [(spot.x(curve.x[i]), spot.y(curve.y[i])) for i in run]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(tag("polyline", f"line s{index}", data_name=curve.name, points=corners))
        if len(run) == 1:
            at, low, high = places[0][0], spot.y(curve.low[run[0]]), spot.y(curve.high[run[0]])
            parts.append(tag("line", f"whisker s{index}", x1=at, x2=at, y1=low, y2=high))
        if markers or len(run) == 1:
            parts += [marker(index, x, y) for x, y in places]
    return Markup("").join(parts)


def _runs(curve: Curve) -> list[list[int]]:
    """The indices of neighbouring points that can be drawn."""
    runs: list[list[int]] = [[]]
    for i, values in enumerate(zip(curve.x, curve.y, curve.low, curve.high, strict=True)):
        if all(map(math.isfinite, values)):
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


SHAPES = (
    "M-4 0A4 4 0 1 1 4 0A4 4 0 1 1-4 0Z",  # disc
    "M-3.6-3.6H3.6V3.6H-3.6Z",  # square
    "M0-5 4.8 3.6H-4.8Z",  # triangle
    "M0-5 5 0 0 5-5 0Z",  # diamond
    "M0 5 4.8-3.6H-4.8Z",  # triangle, point down
    "M-1.6-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",  # plus
    "M-5-2.5H5V2.5H-5Z",  # bar
    "M-2.5-5H2.5V5H-2.5Z",  # pillar
)


def marker(index: int, x: float, y: float) -> Markup:
    """The series' own shape around a point."""
    return tag("path", f"mark s{index}", d=SHAPES[index], transform=f"translate({x:.1f} {y:.1f})")


def legend(names: Sequence[str]) -> Markup:
    """Each series' line, marker and name, as HTML."""
    items = []
    for i, name in enumerate(names):
        swatch = tag("line", f"line s{i % SERIES}", x1=1, x2=25, y1=6, y2=6) + marker(i % SERIES, 13, 6)
        items.append(Markup('<li><svg viewBox="0 0 26 12" aria-hidden="true">{}</svg>{}</li>').format(swatch, name))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))
