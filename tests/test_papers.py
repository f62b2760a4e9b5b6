"""Every paper runs in smoke mode and is in the index; the rules judge as CONTRIBUTING.md says; results are kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from papers import Above, Below, Less, Lines, Near, Paper, Rule, found, run, table
from papers.interval import interval

EVERY = found.files()


def holds(rule: Rule, *values: float, other: float = 0.0) -> bool | None:
    return rule.holds([{"a": value, "b": other} for value in values])[0]


@pytest.mark.parametrize("name", EVERY)
def test_the_file_runs_in_smoke_mode(name: str) -> None:
    start = time.perf_counter()
    result = run.run([EVERY[name]], smoke=True)[name]
    assert not isinstance(result, str), result
    assert result.figures
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize("name", EVERY)
def test_the_file_is_the_paper_that_the_index_means(name: str) -> None:
    index = found.index()
    if index is None:
        pytest.skip("the index of papers is not beside this checkout (set ESPALIER_SHARED to its folder)")
    paper, _ = found.load(EVERY[name])
    assert name in index
    assert (paper.title, paper.chapter) == (index[name]["title"], index[name]["chapter"])


def test_what_was_not_reproduced_says_what_was_tried() -> None:
    for name, row in table.latest().items():
        if row["verdict"] == "not reproduced":
            assert len(found.load(EVERY[name])[0].tried) > 200, f"{name} is not reproduced: write what was tried"


def test_every_result_has_its_file_and_is_in_the_table() -> None:
    rows = table.latest()
    assert set(rows) <= set(EVERY)
    assert table.table(rows) in table.README.read_text(encoding="utf-8"), "run `python -m papers table`"


def test_rules_hold_fail_or_cannot_tell() -> None:
    sure, unsure = (0.9, 1.0, 1.1), (-1.0, 0.5, 2.0)
    assert [holds(Above("a"), *sure), holds(Above("a", 2), *sure), holds(Above("a"), *unsure)] == [True, False, None]
    assert [holds(Below("a", 2), *sure), holds(Below("a"), *sure), holds(Below("a"), *unsure)] == [True, False, None]
    assert [holds(Less("a", "b"), *sure, other=x) for x in (9, 0, 1)] == [True, False, None]
    assert [holds(Near("a", x, within=0.5), *sure) for x in (1.1, 3.0, 1.4)] == [True, False, None]


def test_rules_are_paired_by_seed() -> None:
    runs = [{"a": 10.0 * seed, "b": 10.0 * seed + 1 + 0.1 * seed} for seed in range(5)]
    assert Less("a", "b").holds(runs)[0] is True


def test_one_seed_proves_nothing_and_yes_or_no_is_a_share() -> None:
    assert holds(Above("a"), 1.0) is None
    assert interval([True] * 5).low == pytest.approx(0.025**0.2)
    assert interval([1.0] * 5).low == 1.0


def paper(*rule: Rule) -> Paper:
    return Paper("P000", "title", "claim", "measured", rule)


def test_all_rules_must_hold_and_one_that_fails_decides() -> None:
    runs = [{"a": 1.0 + seed / 100, "b": float(seed)} for seed in range(3)]
    assert paper(Above("a"), Below("a", 2)).judge(runs).verdict == "reproduced"
    assert paper(Above("a"), Above("b", 1.5)).judge(runs).verdict == "inconclusive"
    assert paper(Above("b", 1.5), Below("a")).judge(runs).verdict == "not reproduced"


def test_a_figure_stands_alone_and_has_a_line_and_a_name_for_each_curve() -> None:
    drawn = Lines("n", "win rate", {"this": [(1, "a"), (2, "b")], "that": [(1, "b"), (2, "a")]}, log=True)
    svg = ElementTree.fromstring(drawn.draw([{"a": 0.1 * seed, "b": 1.0} for seed in range(3)]))
    space = "{http://www.w3.org/2000/svg}"
    assert [line.get("data-name") for line in svg.iter(f"{space}polyline")] == ["this", "that"]
    assert {"this", "that", "win rate", "n"} <= {text.text for text in svg.iter(f"{space}text")}
    assert svg.find(f"{space}style") is not None


@pytest.fixture
def chapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty chapter, in a `papers` package that also has the real one's modules."""
    import papers

    folder = tmp_path / "papers" / "example"
    folder.mkdir(parents=True)
    monkeypatch.setattr(papers, "__path__", [*papers.__path__, str(folder.parent)])
    monkeypatch.setattr(found, "HERE", folder.parent)
    yield folder
    for name in [name for name in sys.modules if name.startswith("papers.example")]:
        del sys.modules[name]


def test_the_example_of_the_guide_is_a_paper_of_twenty_lines(chapter: Path) -> None:
    guide = (Path(run.__file__).parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", guide, flags=re.MULTILINE | re.DOTALL)
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 25
    (chapter / "p000_example.py").write_text(code)
    results = chapter / "results.jsonl"
    result = run.run(found.chosen(["p000"]), seeds=2, results=results)["P000"]
    assert not isinstance(result, str), result
    assert result.verdict == "reproduced"
    (line,) = [json.loads(text) for text in results.read_text().splitlines()]
    assert (line["id"], line["chapter"], line["seeds"], line["verdict"]) == ("P000", "example", 2, "reproduced")
    assert {"commit", "versions", "seconds", "figures", "runs", "rule"} <= set(line)
    readme = chapter / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(readme, results)
    assert "| P000 An example |" in readme.read_text()
    assert "old" not in readme.read_text()
    assert readme.read_text().endswith("after\n")


def test_a_paper_that_fails_stores_nothing_and_stops_no_other(chapter: Path) -> None:
    head = 'from papers import Above, Paper\nPAPER = Paper("{}", "t", "c", "m", [Above("x")])\n'
    (chapter / "p001_bad.py").write_text(
        head.format("P001") + "def measure(seed, smoke):\n    return {'x': 1 / seed}\n"
    )
    (chapter / "p002_nan.py").write_text(
        head.format("P002") + "def measure(seed, smoke):\n    return {'x': float('nan')}\n"
    )
    (chapter / "p003_good.py").write_text(head.format("P003") + "def measure(seed, smoke):\n    return {'x': 1.0}\n")
    results = chapter / "results.jsonl"
    outcome = run.run(found.chosen([]), seeds=2, results=results)
    assert outcome["P001"] == "seed 0: ZeroDivisionError: division by zero"
    assert "x is nan" in str(outcome["P002"])
    assert [json.loads(line)["id"] for line in results.read_text().splitlines()] == ["P003"]


def test_wrong_names_are_refused(chapter: Path) -> None:
    with pytest.raises(found.PaperError, match="P999"):
        found.chosen(["P999"])
    with pytest.raises(found.PaperError, match="no papers"):
        found.files("nowhere")
    (chapter / "p001_x.py").write_text("PAPER = 3\n")
    with pytest.raises(found.PaperError, match="measure"):
        found.load(chapter / "p001_x.py")


def test_the_command_lists_papers_from_the_root_of_the_project() -> None:
    root = Path(run.__file__).parents[1]
    shown = subprocess.run(
        [sys.executable, "-m", "papers", "list"], cwd=root, capture_output=True, text=True, check=True
    )
    assert all(name in shown.stdout for name in EVERY)


def test_ctrl_c_ends_the_workers_and_keeps_what_is_done(tmp_path: Path) -> None:
    source, copy = Path(run.__file__).parent, tmp_path / "papers"
    (copy / "example").mkdir(parents=True)
    for path in source.glob("*.py"):
        (copy / path.name).write_text(path.read_text())
    head = "import os, time\nfrom papers import Above, Paper\n"
    head += 'PAPER = Paper("{}", "t", "c", "m", [Above("x")], seeds={})\n'
    quick = "def measure(seed, smoke):\n    return {'x': 1.0}\n"
    told = f"    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    slow = f"def measure(seed, smoke):\n{told}    time.sleep(60)\n"
    (copy / "example" / "p001_quick.py").write_text(head.format("P001", 2) + quick)
    (copy / "example" / "p002_slow.py").write_text(head.format("P002", 1) + slow)
    command = [sys.executable, "-m", "papers", "run", "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background ignores it
    )
    try:
        for _ in range(600):
            time.sleep(0.1)
            if (copy / "results.jsonl").exists() and (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped" in said
    assert [json.loads(line)["id"] for line in (copy / "results.jsonl").read_text().splitlines()] == ["P001"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
