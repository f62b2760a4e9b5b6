"""The page's part on a preference run: what happens to chosen, rejected and other responses, drawn together.

Each panel answers one question, so that what belongs together lies on one paper: log-probs side by side show a
displacement that no curve alone does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from espalier.report import plots
from espalier.report.parts import Report
from espalier.report.svg import legend

Rows = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Metrics on one paper.

    Attributes:
        title: what is drawn.
        reading: what to look for.
        lines: the metrics, each with its name in the legend.
        wide: it takes the whole width.
    """

    title: str
    reading: str
    lines: Mapping[str, str]
    wide: bool = False


PANELS = (
    Panel(
        "Log-prob of a token",
        "Chosen falling beside rejected: mass leaves both. Argmax rising: it goes to the greedy choice. Unseen falling "
        "too: the policy leaves all such text.",
        {
            "chosen_mean_logprob": "chosen",
            "rejected_mean_logprob": "rejected",
            "unseen_mean_logprob": "unseen",
            "argmax_mean_logprob": "argmax",
        },
        wide=True,
    ),
    Panel(
        "Log-ratio to the reference",
        "Chosen should stay near 0 or rise; rejected falls.",
        {"chosen_logratio": "chosen", "rejected_logratio": "rejected"},
    ),
    Panel(
        "Displaced pairs",
        "The margin grew though the chosen response became less likely. Above the dashed line there is a warning.",
        {"displaced": "displaced"},
    ),
    Panel(
        "Margin", "How far chosen stands above rejected in the quantity that the loss compares.", {"margin": "margin"}
    ),
    Panel(
        "Ranking",
        "To rise over the reference is easier than to be ranked right; the bound is what the optimum would reach.",
        {
            "pair_accuracy": "against the reference",
            "ranking_accuracy": "by the policy itself",
            "ranking_bound": "bound of the latter",
        },
    ),
    Panel(
        "KL to the reference",
        "Estimated by k3 on the policy's own samples, all those of one prompt in eight.",
        {"kl": "k3"},
    ),
    Panel(
        "Change on the pairs",
        "k2 on the responses of the pairs, which are not the policy's samples: a size, not the KL.",
        {"kl_pairs": "k2"},
    ),
    Panel(
        "Length",
        "Chosen longer from the start: length is a shortcut that the loss can take.",
        {"chosen_length": "chosen", "rejected_length": "rejected"},
    ),
    Panel(
        "Where the pairs come from",
        "Few prompts with a pair: they are too easy or too hard, or the samples too alike.",
        {"informative": "prompts with a pair", "off_policy": "stored pairs", "skipped": "steps without any"},
    ),
)
MARK = "ranking_accuracy"
"""The metric that every preference run has and no other."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel with its chart.

    Attributes:
        panel: what is drawn.
        last: each drawn metric, its name in the legend, and its last value.
        chart: the lines.
        legend: of the lines; empty for a single one.
    """

    panel: Panel
    last: list[tuple[str, str, float]]
    chart: Markup
    legend: Markup


@dataclass(frozen=True, slots=True)
class Preferences:
    """A phase of preference training.

    Attributes:
        phase: its name.
        drawn: its panels, those that have data.
        alarms: each metric that passed its alarm, with the first step, its mean there, and the alarm.
    """

    phase: str
    drawn: list[Drawn]
    alarms: list[tuple[str, int, float, float]]

    @property
    def names(self) -> set[str]:
        """The metrics that are drawn here, and need not be drawn again."""
        return {name for drawn in self.drawn for name, _, _ in drawn.last}


def preferences(report: Report) -> list[Preferences]:
    """The phases of the report that trained on preferences."""
    found = []
    for phase, rows in report.training.items():
        if any(MARK in row for row in rows):
            drawn = [each for panel in PANELS if (each := _draw(panel, rows, report)) is not None]
            found.append(Preferences(phase, drawn, _alarms(rows, report)))
    return found


def _draw(panel: Panel, rows: Rows, report: Report) -> Drawn | None:
    there = {name: line for name, line in panel.lines.items() if any(row.get(name) is not None for row in rows)}
    known = [report.metrics[name] for name in there if name in report.metrics]
    limits = [metric.alarm for metric in known if metric.alarm is not None and len(there) == 1]
    size = (880, 260) if panel.wide else (420, 230)
    drawn = plots.lines_chart(panel.title, there, rows, known[0].unit if known else "", limits, size)
    if drawn is None:
        return None
    last = [(name, line, [row[name] for row in rows if row.get(name) is not None][-1]) for name, line in there.items()]
    return Drawn(panel, last, drawn, legend(list(there.values())) if len(there) > 1 else Markup())


def _alarms(rows: Rows, report: Report) -> list[tuple[str, int, float, float]]:
    from espalier.training.metrics import Watch  # training loads torch, which a page without training does not need

    limits = {name: metric.alarm for name, metric in report.metrics.items()}
    passed = Watch(rows).passed.items()
    return [(name, step, mean, limit) for name, (step, mean) in passed if (limit := limits.get(name)) is not None]
