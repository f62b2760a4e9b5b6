"""Measure papers on several cores, a seed at a time, and keep each result as soon as its last seed is done."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from papers.found import HERE, load
from papers.paper import Paper, Result

RESULTS = HERE / "results.jsonl"


class Task(NamedTuple):
    path: Path
    seed: int
    smoke: bool


class Done(NamedTuple):
    task: Task
    figures: dict[str, float] | None
    seconds: float
    error: str


def measure(task: Task) -> Done:
    """One seed of one paper. An exception, or a figure that is not finite, is the task's error and stops no other."""
    start = time.perf_counter()
    try:
        measured = load(task.path)[1](task.seed, task.smoke)
        figures = {name: value if isinstance(value, bool) else float(value) for name, value in measured.items()}
        error = ", ".join(f"{name} is {value}" for name, value in figures.items() if not math.isfinite(value))
    except Exception as problem:
        figures, error = None, f"{type(problem).__name__}: {problem}"
    return Done(task, None if error else figures, time.perf_counter() - start, error)


def measure_all(tasks: list[Task], workers: int) -> Iterable[Done]:
    """The results in the order in which they are ready."""
    if workers == 1 or len(tasks) == 1:
        yield from map(measure, tasks)
        return
    # A thread each: two processes of two threads on two cores take longer than one after the other.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with get_context("spawn").Pool(workers, _quiet) as pool:  # leaving it, by Ctrl-C too, ends the workers
        yield from pool.imap_unordered(measure, tasks)


def _quiet() -> None:
    """Ctrl-C is for the parent, which then ends this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run(
    paths: list[Path],
    *,
    seeds: int | None = None,
    smoke: bool = False,
    workers: int = 1,
    results: Path | None = RESULTS,
    each: Callable[[Done], object] = lambda done: None,
) -> dict[str, Result | str]:
    """Measure, judge and store.

    Args:
        paths: the papers' files.
        seeds: how many, instead of what each paper says.
        smoke: two short seeds each; nothing is stored.
        workers: processes.
        results: a line is added to this file as each paper is done; None stores nothing.
        each: told of every seed that is done.

    Returns: for each id its result, or what went wrong.
    """
    many = {path: 2 if smoke else seeds or load(path)[0].seeds for path in paths}
    tasks = [Task(path, seed, smoke) for path in paths for seed in range(many[path])]
    ready: dict[Path, list[Done]] = defaultdict(list)
    found: dict[str, Result | str] = {}
    where = commit()
    for done in measure_all(tasks, workers):
        each(done)
        path = done.task.path
        ready[path].append(done)
        if len(ready[path]) < many[path]:
            continue
        paper, _ = load(path)
        errors = [f"seed {one.task.seed}: {one.error}" for one in ready[path] if one.error]
        if errors:
            found[paper.id] = "; ".join(errors)
            continue
        ordered = sorted(ready[path], key=lambda one: one.task.seed)
        runs = [one.figures for one in ordered if one.figures is not None]
        found[paper.id] = result = paper.judge(runs)
        if results is not None and not smoke:
            if paper.figure is not None and len(runs) > 1:
                picture = results.parent / "figures" / f"{paper.id.lower()}.svg"
                picture.parent.mkdir(exist_ok=True)
                picture.write_text(paper.figure.draw(runs), encoding="utf-8")
            seconds = sum(one.seconds for one in ordered)
            line = row(paper, result, runs, seconds, where)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
    return found


def row(paper: Paper, result: Result, runs: list[dict[str, float]], seconds: float, where: str) -> dict[str, Any]:
    """One line of results.jsonl. `seconds` is computing time, summed over seeds; an open end of an interval is null."""
    figures = {name: asdict(found) for name, found in result.figures.items()}
    for found in figures.values():
        found.update({end: None for end in ("low", "high") if not math.isfinite(found[end])})
    return {
        "id": paper.id,
        "chapter": paper.chapter,
        "title": paper.title,
        "claim": paper.claim,
        "rule": [str(rule) for rule in paper.rule],
        "verdict": result.verdict,
        "reason": result.reason,
        "figures": figures,
        "runs": runs,
        "seeds": len(runs),
        "seconds": round(seconds, 1),
        "commit": where,
        "versions": versions(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def commit() -> str:
    """The commit that the files are at, with a + where something in src/ or papers/ is not committed."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "../src", ":(exclude)results.jsonl", ":(exclude)README.md", ".")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions() -> dict[str, str]:
    """What a figure may depend on."""
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in ("espalier", "torch", "numpy")}}
