"""The studies run from end to end; what comes out of so little training is not looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import guided_search


def test_the_study_of_guided_search_runs_and_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guided_search, "SAMPLES", (4,))
    monkeypatch.setattr(guided_search, "TEMPERATURES", (1.0,))
    words = ["--out", str(tmp_path), "--seeds", "0", "--small"]
    guided_search.main(words)
    first = capsys.readouterr().out
    assert "labels agree, steps" in first
    assert "all seeds: 4 samples: search - vote " in first
    guided_search.main(words)
    again = capsys.readouterr().out
    assert [line for line in first.splitlines() if not line.startswith("[")] == again.splitlines()
