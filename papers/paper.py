"""What a paper file declares, and how its rule turns the figures of several seeds into a verdict.

A rule says yes, no, or (while the interval covers both answers) nothing. All yes: reproduced. A no: not reproduced.
Else inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from espalier.audit import Interval
from papers.figure import Lines
from papers.interval import Runs, interval

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]


class Rule(Protocol):
    """A condition on the figures. `str(rule)` says it in words."""

    def holds(self, runs: Runs) -> tuple[bool | None, str]:
        """Yes, no or not known, and the numbers that say so."""
        ...


@dataclass(frozen=True)
class Above:
    """The figure's whole interval lies above the value."""

    figure: str
    value: float = 0.0

    def __str__(self) -> str:
        return f"{self.figure} > {self.value:g}"

    def holds(self, runs: Runs) -> tuple[bool | None, str]:
        found = interval([run[self.figure] for run in runs])
        return _side(found, self.value), _shown(self, found)


@dataclass(frozen=True)
class Below:
    """The figure's whole interval lies below the value."""

    figure: str
    value: float = 0.0

    def __str__(self) -> str:
        return f"{self.figure} < {self.value:g}"

    def holds(self, runs: Runs) -> tuple[bool | None, str]:
        found = interval([run[self.figure] for run in runs])
        above = _side(found, self.value)
        return None if above is None else not above, _shown(self, found)


@dataclass(frozen=True)
class Less:
    """One figure is less than another of the same seed: the interval of their difference, seed by seed, excludes 0."""

    figure: str
    other: str

    def __str__(self) -> str:
        return f"{self.figure} < {self.other}"

    def holds(self, runs: Runs) -> tuple[bool | None, str]:
        found = interval([float(run[self.other] - run[self.figure]) for run in runs])
        return _side(found, 0.0), f"{self}: difference {_written(found)}"


@dataclass(frozen=True)
class Near:
    """The figure's whole interval lies within a distance of the value: equality, as far as it matters."""

    figure: str
    value: float
    within: float

    def __str__(self) -> str:
        return f"{self.figure} = {self.value:g} +- {self.within:g}"

    def holds(self, runs: Runs) -> tuple[bool | None, str]:
        found = interval([run[self.figure] for run in runs])
        low, high = self.value - self.within, self.value + self.within
        inside = low <= found.low and found.high <= high
        outside = found.high < low or high < found.low
        return True if inside else False if outside else None, _shown(self, found)


def _side(found: Interval, value: float) -> bool | None:
    return True if found.low > value else False if found.high < value else None


def _written(found: Interval) -> str:
    return f"{found.estimate:.3g} [{found.low:.3g}, {found.high:.3g}]"


def _shown(rule: Rule, found: Interval) -> str:
    return f"{rule}: {_written(found)}"


@dataclass(frozen=True)
class Result:
    """The verdict on a paper, with what it rests on."""

    verdict: Verdict
    reason: str
    figures: dict[str, Interval]


@dataclass(frozen=True)
class Paper:
    """One published claim and how it is judged. The file also has `measure(seed, smoke) -> dict of figures`.

    Attributes:
        id: in the index of papers, such as "P106".
        title: the paper's.
        claim: what it says, in our words, as far as it is tested here.
        measured: what is run and which figures come out.
        rule: what must hold of the figures; written before the first run.
        seeds: how many times it is measured.
        figure: what to draw of the figures, where that helps.
        tried: what was tried, a paragraph; needed where the verdict is "not reproduced".
    """

    id: str
    title: str
    claim: str
    measured: str
    rule: Sequence[Rule]
    seeds: int = 5
    figure: Lines | None = None
    tried: str = ""
    chapter: str = field(default="", init=False)
    """The folder that the file is in; set when it is found."""

    def judge(self, runs: Runs) -> Result:
        """The verdict on these runs, one for each seed."""
        names = [name for name in runs[0] if all(name in run for run in runs)]
        answers = [rule.holds(runs) for rule in self.rule]
        verdict: Verdict = "reproduced"
        if any(holds is None for holds, _ in answers):
            verdict = "inconclusive"
        if any(holds is False for holds, _ in answers):
            verdict = "not reproduced"
        marks = {True: "yes", False: "NO", None: "not known"}
        reason = "; ".join(f"{text} ({marks[holds]})" for holds, text in answers)
        return Result(verdict, reason, {name: interval([run[name] for run in runs]) for name in names})


Measure = Callable[[int, bool], Mapping[str, float]]
"""One seed's figures; the second argument asks for a run of a second or two that only shows that the file works."""
