"""One progress bar for all long work: live in a terminal, a few plain lines where the output is a file or a CI log.

    with track("sampling", total=n, unit="tokens") as bar:
        bar.advance(k, note="acc 0.41")

Training must not know this module; it takes any callback, and `bar.advance` is one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class Bar(Protocol):
    """What `track` hands to the work."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """`amount` more units are done; `note` says how it goes ("" keeps the last note)."""
        ...

    def reach(self, done: float, total: float = 0, note: str = "") -> None:
        """`done` units are done in all: a callback for work that counts by itself; `total`, if it was not known."""
        ...


@contextmanager
def track(what: str, total: float, unit: str = "items", console: Console | None = None) -> Iterator[Bar]:
    """Show the progress of a block of work, with rate and time left, on standard error.

    Args:
        what: the work, in a word or two.
        total: how many units there are; 0 where only the work will tell, by `reach`.
        unit: what is counted, in the plural.
        console: where to show it; its `is_terminal` decides between a live bar and lines.
    """
    console = console or Console(stderr=True)
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24, complete_style="blue", finished_style="green"),
            _Amount(),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        ) as progress:
            yield _Live(progress, what, total, unit)
    else:
        lines = _Lines(console, what, total, unit)
        try:
            yield lines
        finally:
            lines.finish()


class _Amount(ProgressColumn):
    """Done, total and rate: `412/1,000 tokens · 93/s`."""

    def render(self, task: Task) -> Text:
        rate = f" · {_count(task.speed)}/s" if task.speed else ""
        return Text(f"{_count(task.completed)}/{_count(task.total or 0)} {task.fields['unit']}{rate}")


class _Live:
    """A bar that redraws itself."""

    def __init__(self, progress: Progress, what: str, total: float, unit: str) -> None:
        self.progress, self.note, self.done, self.total = progress, "", 0.0, total
        self.task = progress.add_task(escape(what), total=total, unit=unit, note="")

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.note = escape(note) or self.note
        self.done += amount
        self.progress.update(self.task, total=self.total, advance=amount, note=self.note)

    def reach(self, done: float, total: float = 0, note: str = "") -> None:
        self.total = self.total or total
        self.advance(done - self.done, note)


class _Lines:
    """A line at each tenth of the work, at most one in two seconds, and one at the end."""

    def __init__(self, console: Console, what: str, total: float, unit: str) -> None:
        self.console, self.what, self.total, self.unit = console, what, total, unit
        self.done, self.note, self.tenth = 0.0, "", 0
        self.start = self.printed = time.perf_counter()

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        tenth = int(10 * self.done / self.total) if self.total else 10
        now = time.perf_counter()
        if self.tenth < tenth < 10 and now - self.printed >= 2:
            self.tenth, self.printed = tenth, now
            self._print(f"{_clock((now - self.start) * (self.total / self.done - 1))} left")

    def reach(self, done: float, total: float = 0, note: str = "") -> None:
        self.total = self.total or total
        self.advance(done - self.done, note)

    def finish(self) -> None:
        took = _clock(time.perf_counter() - self.start)
        self._print(f"{took} taken" if self.done >= self.total else f"stopped after {took}")

    def _print(self, when: str) -> None:
        seconds = time.perf_counter() - self.start
        amount = f"{_count(self.done)}/{_count(self.total)} {self.unit}"
        parts = [f"{self.what}: {amount}", f"{_count(self.done / max(seconds, 1e-9))}/s", when, self.note]
        self.console.print(" · ".join(part for part in parts if part), markup=False, highlight=False, soft_wrap=True)


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
