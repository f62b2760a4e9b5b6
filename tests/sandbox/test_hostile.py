"""Programs that mean harm are contained, the run goes on, and each is reported as what it was."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from espalier.sandbox import Limits, Run, Verdict, parallel, run_tests
from tests.sandbox.hostile import HOSTILE, Hostile

TEST = "assert solve(3) == 6"
LIMITS = {"cpu": 2, "memory": 256 * 2**20, "output": 2**16, "disk": 2**22}


def judged(hostile: Hostile) -> Verdict:
    return run_tests(hostile.code, [TEST], ["solve"], limits=Limits(seconds=hostile.seconds, **LIMITS))


@pytest.fixture(scope="module")
def verdicts(sandbox: None) -> dict[str, Verdict]:
    return dict(zip([hostile.name for hostile in HOSTILE], parallel(judged, HOSTILE), strict=True))


def test_there_are_forty_and_more() -> None:
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE) >= 40


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name.replace(" ", "-"))
def test_hostile_program_is_reported_as_what_it_was(hostile: Hostile, verdicts: dict[str, Verdict]) -> None:
    run = verdicts[hostile.name].run
    assert run.outcome in hostile.outcomes, run


def test_nothing_of_them_is_left(verdicts: dict[str, Verdict]) -> None:
    assert verdicts
    deadline = time.perf_counter() + 5.0
    while (left := orphans()) and time.perf_counter() < deadline:
        time.sleep(0.1)
    assert not left


def orphans() -> list[list[str]]:
    """Processes of a sandbox with nobody above them who asked for it, each with those above it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            chain = above(folder.name)
            if sandboxed(folder.name) and all(number == "1" or sandboxed(number) for number in chain):
                found.append([folder.name, *chain])
        except OSError:
            continue  # it ended meanwhile
    return found


def sandboxed(number: str) -> bool:
    return b"/python/inside.py" in Path("/proc", number, "cmdline").read_bytes()


def above(number: str) -> list[str]:
    """The processes that this one descends from."""
    parent = Path("/proc", number, "stat").read_text().rsplit(")", 1)[1].split()[1]
    return [] if parent == "0" else [parent, *above(parent)]


def test_a_good_program_still_passes(verdicts: dict[str, Verdict]) -> None:
    assert verdicts
    run = run_tests("def solve(x): return 2 * x", [TEST], ["solve"]).run
    assert isinstance(run, Run)
    assert run.outcome == "passed"
