"""A paper's figure: lines through its figures, with their intervals over seeds, as an SVG file that stands alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espalier.report.parts import Curve
from espalier.report.svg import Axis, chart, tag
from papers.interval import Runs, interval

COLOURS = ("#2462a6", "#c8661b", "#2f8563", "#8552a1", "#b93e70", "#2f93b3", "#6b6f73", "#8b7a1d")
STYLE = """svg{background:#fff} text{font:12px system-ui,sans-serif;fill:#555} .end{text-anchor:end}
.middle{text-anchor:middle} .grid{stroke:#ddd} .axis{stroke:#888} .line{fill:none;stroke:var(--c);stroke-width:2}
.band{fill:var(--c);opacity:.12} .mark{fill:var(--c)} .whisker{stroke:var(--c)} text.name{fill:var(--c)}
""" + "".join(f".s{i}{{--c:{colour}}}" for i, colour in enumerate(COLOURS))


@dataclass(frozen=True)
class Lines:
    """What to draw: `Lines("n", "win rate", {"best-of-n": [(2, "win rate, n=2"), (4, "win rate, n=4")]})`.

    Attributes:
        x: what is along the bottom, with its unit.
        y: what is along the side.
        curves: for each line the points: a place along the bottom, and the name of the figure to draw there.
        log: the bottom is on a log scale.
    """

    x: str
    y: str
    curves: Mapping[str, Sequence[tuple[float, str]]]
    log: bool = False

    def draw(self, runs: Runs) -> str:
        """The SVG of these runs."""
        curves, names = [], []
        for number, (name, points) in enumerate(self.curves.items()):
            found = [interval([run[figure] for run in runs]) for _, figure in points]
            places, means = [x for x, _ in points], [one.estimate for one in found]
            curves.append(Curve(name, places, means, [one.low for one in found], [one.high for one in found]))
            names.append(tag("text", f"name s{number}", name, x=60, y=40 + 16 * number))
        x = Axis.around([place for curve in curves for place in curve.x], self.x, log=self.log)
        y = Axis.around([value for curve in curves for value in (*curve.y, *curve.low, *curve.high)], self.y)
        drawn = str(chart(curves, x, y, (560, 320), f"{self.y} against {self.x}", under=Markup("").join(names)))
        return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
            ">", f"><style>{STYLE}</style>", 1
        )
