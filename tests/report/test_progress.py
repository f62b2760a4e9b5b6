"""Progress: live where someone looks, sparse where a log is kept."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from espalier.report.progress import track


def test_a_log_gets_one_line_for_quick_work_and_it_says_what_was_done() -> None:
    out = io.StringIO()
    with track("sampling", total=1000, unit="tokens", console=Console(file=out)) as bar:
        for _ in range(1000):
            bar.advance(1, note="acc [0.41]")
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("sampling: 1,000/1,000 tokens")
    assert lines[0].endswith("acc [0.41]")
    assert "0:00 taken" in lines[0]


def test_a_log_of_slow_work_gets_a_line_at_each_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr("espalier.report.progress.time.perf_counter", lambda: float(next(clock)))
    out = io.StringIO()
    with track("training", total=100, unit="steps", console=Console(file=out)) as bar:
        for _ in range(100):
            bar.advance()
    assert len(out.getvalue().splitlines()) == 10
    assert "left" in out.getvalue().splitlines()[0]


def test_work_that_is_interrupted_says_where_it_stopped() -> None:
    out = io.StringIO()

    def search() -> None:
        with track("search", total=8, unit="problems", console=Console(file=out)) as bar:
            bar.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search()
    assert "3/8 problems" in out.getvalue()
    assert "stopped after" in out.getvalue()


def test_a_terminal_gets_a_bar_with_the_last_note() -> None:
    out = io.StringIO()
    with track("search", total=8, unit="problems", console=Console(file=out, force_terminal=True, width=120)) as bar:
        bar.advance(4, note="acc [0.5]")
        bar.advance(4)
    assert "8/8 problems" in out.getvalue()
    assert "acc [0.5]" in out.getvalue()
