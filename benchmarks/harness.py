"""Contestants on the same work, round by round in turn, so that a machine that changes its speed changes it for all.

A contestant is a class: `__init__(self, folder, **settings)` loads, `round(self)` does the work once and returns its
figures: seconds, and what was done (tokens, flops, nodes). Each lives in a process of its own, with its own library's
Python. A case's figure is a rate such as tokens / seconds, or one number such as the peak of the memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Contestant:
    """Who does the work.

    Attributes:
        where: `module:Class`.
        peer: whose environment it runs in: "trl", "vllm"; "" is ours.
        settings: of its constructor.
        environ: environment variables on top of this process's own.
        rounds: at most so many rounds, for one that takes minutes; None for as many as the others.
        choices: settings of which a search before the rounds keeps the fastest: a peer at its best is what is fastest
            here, not what was fastest elsewhere.
        trial: settings of that search alone, which make its work smaller.
    """

    name: str
    where: str
    peer: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    rounds: int | None = None
    choices: Sequence[Mapping[str, Any]] = ()
    trial: Mapping[str, Any] = field(default_factory=dict)

    def having(self, *more: Mapping[str, Any]) -> Contestant:
        """The same with more settings, and nothing left to search."""
        return replace(self, settings={k: v for part in (self.settings, *more) for k, v in part.items()}, choices=())


@dataclass(frozen=True)
class Claim:
    """What is asked of the figure of `ours` over that of `other`; a claim that asks nothing is only reported.

    Attributes:
        other: "" for a figure that is a ratio itself.
        least, most: bounds of the ratio.
        within: instead of a ratio, how far the two loss curves (`losses` of a round) may be apart.
    """

    ours: str
    other: str = ""
    least: float | None = None
    most: float | None = None
    within: float | None = None


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: one word, for the command line.
        title: what is measured, for the table.
        make: puts model and data into an empty folder.
        figure: what is compared: a rate (numerator, denominator) of a round's figures, or one of them.
        unit: of the figure, once divided by `scale`.
        fresh: a new process for every round, for peaks of memory.
        beside: other figures of a round that the table shows the medians of, with the words for them.
    """

    name: str
    title: str
    make: Callable[[Path], None]
    contestants: Sequence[Contestant]
    claims: Sequence[Claim] = ()
    figure: tuple[str, str] | str = ("tokens", "seconds")
    unit: str = "tokens/s"
    scale: float = 1.0
    fresh: bool = False
    beside: Mapping[str, str] = field(default_factory=dict)

    def value(self, figures: Figures) -> float:
        if isinstance(self.figure, str):
            return figures[self.figure] / self.scale
        return figures[self.figure[0]] / figures[self.figure[1]] / self.scale


def interpreter(peer: str) -> str | None:
    """The Python of a peer's environment, or None where there is none; `ESPALIER_BENCH_<PEER>` names another."""
    if not peer:
        return sys.executable
    path = os.environ.get(f"ESPALIER_BENCH_{peer.upper()}", str(ROOT / f".venv-{peer}/bin/python"))
    return path if path and Path(path).exists() else None


class Worker:
    """The process of one contestant."""

    def __init__(self, contestant: Contestant, folder: Path, threads: int) -> None:
        python = interpreter(contestant.peer)
        assert python is not None
        self.log = folder / f"{contestant.name.replace('/', '-')}.log"
        environ = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [
                    python,
                    "-m",
                    "benchmarks.worker",
                    contestant.where,
                    str(folder),
                    json.dumps(dict(contestant.settings)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **environ, **contestant.environ},
            )
        self.versions: dict[str, str] = self._answer()["versions"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.process.kill()
        self.process.communicate()  # closes its stdin, which ends it

    def round(self) -> Figures:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has died: the answer says of what
            self.process.stdin.write("round\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            tail = "\n".join(self.log.read_text().splitlines()[-25:])
            raise RuntimeError(f"{self.log.stem} ended with {self.process.returncode}:\n{tail}")
        return json.loads(line)


def search(
    contestant: Contestant, folder: Path, threads: int, said: Callable[[str], None]
) -> tuple[Contestant, list[dict[str, Any]]]:
    """The contestant with the fastest of its choices, and what each choice took, in seconds.

    Raises:
        RuntimeError: if none of them ran.
    """
    tried: list[dict[str, Any]] = []
    for choice in contestant.choices:
        try:
            with Worker(contestant.having(choice, contestant.trial), folder, threads) as worker:
                tried.append({"settings": dict(choice), "seconds": worker.round()["seconds"]})
            said(f"search  {contestant.name} {dict(choice)}: {tried[-1]['seconds']:.2f} s")
        except RuntimeError as error:
            said(f"search  {contestant.name} {dict(choice)}: {error}")
    if not tried:
        raise RuntimeError(f"{contestant.name}: none of its {len(contestant.choices)} choices ran")
    best = min(tried, key=lambda row: row["seconds"])
    return contestant.having(best["settings"]), tried


def run(
    case: Case, folder: Path, rounds: int, threads: int = 2, said: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Make the work in `folder`, run the rounds in turn, and return the case's record for results.json.

    A contestant whose environment is not there is left out; one that fails is recorded with its error, and the others
    go on. Ctrl-C ends the case: `stopped` is set, and the rounds made so far count.
    """
    case.make(folder)
    present = [c for c in case.contestants if interpreter(c.peer)]
    absent = [c.name for c in case.contestants if c not in present]
    made: dict[str, list[Figures]] = {c.name: [] for c in present}
    errors: dict[str, str] = {}
    searched: dict[str, list[dict[str, Any]]] = {}
    for place, contestant in enumerate(present):
        if contestant.choices:
            try:
                present[place], searched[contestant.name] = search(contestant, folder, threads, said)
            except RuntimeError as error:
                errors[contestant.name] = str(error)
    workers: dict[str, Worker] = {}
    found: dict[str, dict[str, str]] = {}
    stopped = False
    try:
        for number in range(rounds):
            for contestant in present:
                name = contestant.name
                if name in errors or number >= (contestant.rounds or rounds):
                    continue
                try:
                    if name not in workers:
                        workers[name] = Worker(contestant, folder, threads)
                        found[contestant.peer or "espalier"] = workers[name].versions
                    figures = workers[name].round()
                except RuntimeError as error:
                    errors[name] = str(error).splitlines()[-1]  # its traceback names folders of this machine
                    said(f"{case.name}: {error}")
                    continue
                made[name].append(figures)
                said(f"{case.name}  round {number + 1}  {name}: {case.value(figures):,.4g} {case.unit}")
                if case.fresh:
                    workers.pop(name).__exit__(None, None, None)
    except KeyboardInterrupt:
        stopped = True
    finally:
        kind = KeyboardInterrupt if stopped else sys.exc_info()[0]
        for worker in workers.values():
            worker.__exit__(kind, None, None)
    values = {name: [case.value(figures) for figures in rows] for name, rows in made.items() if rows}
    return {
        "title": case.title,
        "unit": case.unit,
        "beside": dict(case.beside),
        "contestants": {
            name: {
                **spread(values[name]),
                "rounds": made[name],
                **({"searched": searched[name]} if name in searched else {}),
            }
            for name in values
        },
        "claims": [
            {
                "ours": claim.ours,
                "other": claim.other,
                **(apart(claim, made) if claim.within is not None else ratio(claim, values)),
            }
            for claim in case.claims
            if {claim.ours, claim.other} - {""} <= values.keys()
        ],
        "absent": absent,
        "stopped": stopped,
        "errors": errors,
        "versions": found,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "count": len(values)}


def ratio(claim: Claim, values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """The ratio of the medians, with the lowest and highest ratio of two rounds that ran in turn."""
    ours, other = values[claim.ours], values[claim.other] if claim.other else [1.0]
    found = statistics.median(ours) / statistics.median(other)
    # Where one side made fewer rounds, its rounds are gone over again.
    paired = [ours[i % len(ours)] / other[i % len(other)] for i in range(max(len(ours), len(other)))]
    record: dict[str, Any] = {"ratio": found, "low": min(paired), "high": max(paired)}
    if claim.least is not None:
        record |= {"least": claim.least, "held": found >= claim.least}
    if claim.most is not None:
        record |= {"most": claim.most, "held": found <= claim.most}
    return record


def apart(claim: Claim, made: Mapping[str, list[Figures]]) -> dict[str, Any]:
    """The largest difference between two loss curves, step by step."""
    ours, other = made[claim.ours][0]["losses"], made[claim.other][0]["losses"]
    largest = max(abs(a - b) for a, b in zip(ours, other, strict=True))
    return {"largest": largest, "within": claim.within, "held": largest <= claim.within}
