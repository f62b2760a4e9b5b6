"""The page: one file that opens offline, asks nothing of any network, and runs no script but its own.

The texts in a report were written by models and strangers. All of them are escaped by the template, and the page's own
content security policy allows exactly one script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from espalier.report import figures, plots
from espalier.report.colour import STOPS
from espalier.report.parts import Report
from espalier.report.preferences import preferences
from espalier.report.strips import heat_rules
from espalier.report.svg import legend
from espalier.report.treeview import TreeView

ASSETS = Path(__file__).parent / "assets"


def write_html(report: Report, path: str | Path) -> Path:
    """Write the page of a report and return its path. It is written aside and renamed: no reader sees half a page.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(path)
    aside = path.with_name(path.name + ".tmp")
    # A lone surrogate has no UTF-8 form; as a reference the browser shows it as the replacement character.
    aside.write_text(page(report), encoding="utf-8", errors="xmlcharrefreplace")
    os.replace(aside, path)
    return path


def page(report: Report) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("espalier.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        percent=figures.percent,
        percent_interval=figures.percent_interval,
        points_interval=figures.points_interval,
        interval=figures.interval,
        number=figures.number,
        duration=figures.duration,
        accuracy_chart=plots.accuracy_chart,
        training_chart=plots.training_chart,
        reliability_chart=plots.reliability_chart,
        overoptimisation_charts=plots.overoptimisation_charts,
        legend=legend,
        place=place,
    )
    compared = preferences(report)
    shown = {part.phase: part.names for part in compared}
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        report=report,
        trees=[TreeView(shown, index) for index, shown in enumerate(report.trees)],
        preferences=compared,
        training=[
            (phase, measured(rows, report, shown.get(phase, set()))) for phase, rows in report.training.items() if rows
        ],
        accuracy_range=_span([(row.accuracy.low, row.accuracy.high) for row in report.rows]),
        difference_range=_span([(d.interval.low, d.interval.high) for d in report.differences] + [(0.0, 0.0)]),
        gradient=", ".join("rgb({}, {}, {})".format(*stop) for stop in STOPS),
        style=Markup((ASSETS / "style.css").read_text(encoding="utf-8") + heat_rules()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def measured(
    rows: Sequence[Mapping[str, float]], report: Report, elsewhere: Collection[str]
) -> list[tuple[str, float, Markup]]:
    """Name, last value and chart of each metric that has a number, in the dictionary's order, then as first met.

    Args:
        elsewhere: the metrics that another part of the page draws.
    """
    met = dict.fromkeys(name for row in rows for name in row if name != "step" and name not in elsewhere)
    names = [name for name in report.metrics if name in met] + [name for name in met if name not in report.metrics]
    found = []
    for name in names:
        unit = report.metrics[name].unit if name in report.metrics else ""
        drawn = plots.training_chart(name, rows, unit)
        if drawn is not None:
            found.append((name, [row[name] for row in rows if row.get(name) is not None][-1], drawn))
    return found


def place(value: float, span: tuple[float, float]) -> str:
    """Where a value lies in a span, as a CSS percentage."""
    return f"{100 * (value - span[0]) / (span[1] - span[0]):.1f}%"


def _span(intervals: list[tuple[float, float]]) -> tuple[float, float]:
    """A span with a little room around all intervals."""
    low = min((low for low, _ in intervals), default=0.0)
    high = max((high for _, high in intervals), default=1.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room
