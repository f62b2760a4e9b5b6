"""A run folder's page, and what a run keeps of its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.errors import ConfigError, DataError
from espalier.report import Report, from_json, to_json, view_run
from espalier.report.html import page
from espalier.report.run import read_rows
from espalier.trees import Forest
from espalier.trees.parquet import write


def test_a_saved_report_draws_the_same_page(report: Report) -> None:
    assert page(from_json(to_json(report))) == page(report)


@pytest.mark.parametrize("text", ["{", "[]", '{"titel": "x"}', '{"title": "x", "rows": [{"name": "greedy"}]}'])
def test_a_saved_report_that_cannot_be_read_names_the_file(text: str) -> None:
    with pytest.raises(DataError, match=r"run/audit\.json"):
        from_json(text, "run/audit.json")


def test_a_run_folder_gets_a_page_of_what_lies_in_it(tmp_path: Path, report: Report) -> None:
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}, {"step": 3, "loss": 1.0, "reward": 0.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "lo')
    (tmp_path / "timings.jsonl").write_text('{"step": 1, "seconds": 60.0}\n{"step": 2, "seconds": 15.0}\n')
    (tmp_path / "config.toml").write_text('[training]\nseed = 7\n\n[versions]\ntorch = "2.13.0"\n')
    (tmp_path / "trees").mkdir()
    write(Forest([report.trees[0].tree]), tmp_path / "trees" / "step-9.parquet")
    newest = report.trees[1].tree.copy(keep=lambda node: node.author != "critic")  # whose text no file can hold
    write(Forest([newest]), tmp_path / "trees" / "step-10.parquet")
    text = view_run(tmp_path).read_text(encoding="utf-8")
    for expected in (
        "1 min 15 s",
        "<dd>7</dd>",
        "2.13.0",
        "<code>loss</code>",
        "what the optimiser descends",
        "Lina has",
    ):
        assert expected in text
    assert "Compute (7 + 5)" not in text  # of the forests, the newest is shown


def test_what_was_reported_is_shown_again(tmp_path: Path, report: Report) -> None:
    (tmp_path / "audit.json").write_text(to_json(report))
    assert view_run(tmp_path).read_text(encoding="utf-8") == page(report).encode("utf-8", "xmlcharrefreplace").decode()


def test_a_folder_with_nothing_to_show_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to show"):
        view_run(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        view_run(tmp_path / "absent")


@pytest.mark.parametrize(
    ("line", "field"),
    [("{nonsense", None), ("[1]", "step"), ('{"loss": 1}', "step"), ('{"step": 2, "loss": "x"}', "loss")],
)
def test_a_metrics_line_that_cannot_be_read_is_named(tmp_path: Path, line: str, field: str | None) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_rows(path)
    assert (caught.value.line, caught.value.field) == (2, field)
