"""Test a program that cannot fake its result: the tests run in another process, and only plain values pass between."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from espalier.errors import ConfigError
from espalier.sandbox.base import Limits, Outcome, Verdict
from espalier.sandbox.bubblewrap import ready
from espalier.sandbox.child import Child, failure, step

T = TypeVar("T")
R = TypeVar("R")
Result = tuple[Outcome, str]


def run_tests(
    code: str, tests: Sequence[str], names: Sequence[str], *, setup: str = "", limits: Limits | None = None
) -> Verdict:
    """Run each test against the program.

    Program and tests are processes of their own, each behind walls of its own. In a test a name of `names` stands for
    a call: its arguments go to the program, and what it returns comes back, as plain values (numbers, strings, bytes,
    None, ranges, and lists, tuples, sets and dictionaries of them). The comparison is made where no code of the
    program runs. The program answers all tests from one process, and is started anew after a test that ended it.

    Args:
        code: the program.
        tests: Python code each; a test passes where it raises nothing.
        names: the functions of the program that the tests call.
        setup: code that every test stands on, such as helpers that the problem gives.

    Raises:
        ConfigError: no tests, or no names.
        SandboxError: there is no sandbox here.

    >>> from espalier.sandbox import sandboxed
    >>> run_tests("def double(x): return x + x", ["assert double(2) == 4"], ["double"]).passed if sandboxed() else True
    True
    """
    if not tests or not names:
        raise ConfigError("run_tests needs at least one test and the name of a function that it calls")
    ready()
    limits = limits or Limits()
    return _Session(code, list(tests), list(names), setup, limits).results()


def parallel(function: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> list[R]:
    """The function of each item, several at a time (as many as there are processors), in order."""
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(function, items))


class _Session:
    """A program, its tests, and what passes between them."""

    def __init__(self, code: str, tests: list[str], names: list[str], setup: str, limits: Limits) -> None:
        self.code, self.tests, self.names, self.setup, self.limits = code, tests, names, setup, limits
        self.done: list[Result] = []
        self.program: Child | None = None
        self.judge: Child | None = None
        self.ended: Child | None = None

    def results(self) -> Verdict:
        try:
            while len(self.done) < len(self.tests):
                if self.program is None and (failed := self._load()):
                    # It would fail in the same way before every other test.
                    self.done += [failed] * (len(self.tests) - len(self.done))
                    break
                self.done.append(self._test())
            if self.program is not None:
                self.program.finish()
                self.ended, self.program = self.program, None
        finally:
            for child in (self.program, self.judge):
                if child is not None:
                    child.stop("killed", "interrupted")
        assert self.ended is not None
        passed: Result = ("passed", "")
        first = next((result for result in self.done if result[0] != "passed"), passed)
        outcomes, details = tuple(outcome for outcome, _ in self.done), tuple(detail for _, detail in self.done)
        return Verdict(outcomes, details, replace(self.ended.run(), outcome=first[0], detail=first[1]))

    def _load(self) -> Result | None:
        """Start the program; where it does not come to the end of its code, why not."""
        self.program = Child("program", {"code": self.code, "calls": True}, self.limits)
        if self.judge is None or self.judge.over:
            message = {"setup": self.setup, "names": self.names, "tests": self.tests[len(self.done) :]}
            self.judge = Child("tests", message, self.limits)
        deadline = time.perf_counter() + self.limits.seconds
        while not self.program.over and not self.program.lines and time.perf_counter() < deadline:
            step([self.program], deadline)
        line = self.program.lines.popleft() if self.program.lines else None
        if line == b"+":
            return None
        if line is not None and line.startswith(b"!"):
            self.program.finish()
            outcome, detail = failure(line[1:].decode(errors="replace"))
            self.ended, self.program = self.program, None
            return ("error" if outcome == "failed" else outcome), detail
        return self._dead() if self.program.over else self._late()

    def _test(self) -> Result:
        """The result of the next test."""
        assert self.program is not None
        if self.judge is None or self.judge.over:
            message = {"setup": self.setup, "names": self.names, "tests": self.tests[len(self.done) :]}
            self.judge = Child("tests", message, self.limits)
        program, judge = self.program, self.judge
        deadline, asked = time.perf_counter() + self.limits.seconds, False
        result: Result | None = None
        while result is None:
            while judge.lines and result is None:
                line = judge.lines.popleft()
                if line.startswith(b"?"):
                    program.send(line[1:])
                    asked = True
                else:
                    result = _result(line)
            while program.lines:
                line = program.lines.popleft()
                if asked and line.startswith(b"="):
                    judge.send(line[1:])
                    asked = False
            if result is not None:
                break
            if program.over and asked:
                judge.send(b'["gone"]')
                asked = False
            if judge.over:
                result = program.ended() if program.over else _of_judge(judge)
            elif time.perf_counter() >= deadline:
                # A test that does not end by itself now is at fault, or was left by its program.
                late = program.over
                self._late_stop(program)
                if late or not asked:
                    judge.stop("timed out", f"more than {self.limits.seconds:g} seconds")
                deadline = time.perf_counter() + 1.0
            else:
                step([program, judge], deadline)
        return self._dead() if program.over else result

    def _late_stop(self, program: Child) -> None:
        program.stop("timed out", f"more than {self.limits.seconds:g} seconds")

    def _late(self) -> Result:
        assert self.program is not None
        self._late_stop(self.program)
        return self._dead()

    def _dead(self) -> Result:
        """What ended the program, which is over."""
        assert self.program is not None
        self.ended, self.program = self.program, None
        outcome, detail = self.ended.ended()
        return ("error", "the program ended before its tests did") if outcome == "finished" else (outcome, detail)


def _result(line: bytes) -> Result:
    outcome, detail = json.loads(line.removeprefix(b"."))
    return outcome, detail


def _of_judge(judge: Child) -> Result:
    """A test that took its own process down."""
    outcome, detail = judge.ended()
    return ("error" if outcome == "finished" else outcome), f"the test: {detail or 'it ended itself'}"
