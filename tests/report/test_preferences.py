"""The page's part on a preference run: what belongs together on one paper, and a warning where one is due."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from espalier.report import Report, view_run
from espalier.report.html import page
from espalier.report.plots import lines_chart
from espalier.report.preferences import PANELS, preferences
from espalier.training.metrics import METRICS


def rows(displaced: float, steps: int = 20) -> list[dict[str, float]]:
    names = ("chosen_mean_logprob", "rejected_mean_logprob", "unseen_mean_logprob", "argmax_mean_logprob")
    return [
        {
            "step": step,
            "loss": 0.6,
            "pair_accuracy": 0.7,
            "ranking_accuracy": 0.5,
            "displaced": displaced * (step > 4),
            "margin": 0.1 * step,
            **{name: -1.0 - 0.1 * i - 0.01 * step for i, name in enumerate(names)},
        }
        for step in range(steps)
    ]


def test_every_panel_draws_metrics_of_the_dictionary_that_have_one_unit() -> None:
    for panel in PANELS:
        assert len({METRICS[name].unit.split(" of ")[0] for name in panel.lines}) == 1, panel.title


def test_a_preference_run_has_its_part_and_its_metrics_are_drawn_once() -> None:
    report = Report("run", training={"training": rows(0.0)}, metrics=METRICS)
    said = page(report)
    assert 'id="preferences"' in said
    assert said.count('data-name="argmax"') == said.count('data-name="unseen"') == 1
    assert "<code>margin</code><span>" not in said  # a small chart of its own
    assert "<code>loss</code><span>" in said
    assert 'class="alarm"' not in said
    [part] = preferences(report)
    assert {"margin", "displaced", "ranking_accuracy"} <= part.names


@pytest.mark.parametrize("training", [[{"step": 0, "loss": 1.0, "pair_accuracy": 0.5, "margin": 0.1}], []])
def test_other_runs_have_no_such_part(training: list[dict[str, float]]) -> None:
    said = page(Report("run", training={"training": training}, metrics=METRICS))
    assert "preferences" not in said


def test_a_displacement_stands_on_the_page_of_its_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(0.9)))
    said = view_run(tmp_path).read_text(encoding="utf-8")
    (warning,) = re.findall(r'<p class="alarm">(.*?)</p>', said)
    assert "was 0.54 at step 10, as a mean of ten steps, above 0.5. Likelihood displacement" in warning


def test_a_line_is_a_running_mean_before_the_steps_themselves() -> None:
    measured = [{"step": float(step), "margin": value} for step, value in enumerate([0.0, 1.0, math.nan, 2.0])]
    drawn = lines_chart("margin", {"margin": "margin"}, measured, "nats", [3.0])
    assert drawn is not None
    assert "nan" not in drawn
    (line,) = re.findall(r'<polyline[^>]* points="([^"]*)"', drawn)
    heights = [float(point.split(",")[1]) for point in line.split()]
    gaps = [before - after for before, after in pairwise(heights)]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.2)  # 0, 0.5, 1
    assert drawn.count('class="raw s0"') == drawn.count('class="honest"') == 1
    assert lines_chart("margin", {"margin": "margin"}, [{"step": 0.0, "margin": math.inf}], "nats") is None
