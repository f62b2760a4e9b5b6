"""What a sandboxed run is allowed, and the record of what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from espalier.errors import ConfigError, EspalierError

Outcome = Literal[
    "passed",
    "finished",
    "failed",
    "error",
    "timed out",
    "out of memory",
    "killed",
    "output too large",
    "violation",
    "broken test",
]
"""What became of a program.

- passed: every test held. Only tests give this outcome; a program alone cannot.
- finished: a program that was only run ended with exit status 0.
- failed: an assertion did not hold.
- error: an exception, a syntax error, or an end before the tests had their answers.
- timed out: the limit on seconds or on processor seconds.
- out of memory: an allocation beyond the limit (a `MemoryError`).
- killed: a signal ended it, such as a crash of the interpreter.
- output too large: it printed, or returned, more than the limit.
- violation: it asked the kernel for what no program may have: the network, other processes, mounts, tracing.
- broken test: the test's own code does not compile, or what it stands on; this says nothing of the program.
"""


class SandboxError(EspalierError):
    """There is no sandbox here, so code that a model wrote is not run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use.

    Attributes:
        seconds: of wall time, for each test. Set it well above `cpu`: a busy machine slows the clock of a program.
        cpu: seconds of processor time of the whole process, whole numbers.
        memory: bytes of address space.
        output: bytes printed to each of stdout and stderr, and of each value that passes in or out.
        disk: bytes in /tmp, the only place that can be written.
        threads: how many may run; other processes may not.

    Raises:
        ConfigError: a limit that is not positive.
    """

    seconds: float = 10.0
    cpu: int = 5
    memory: int = 512 * 2**20
    output: int = 2**20
    disk: int = 16 * 2**20
    threads: int = 32

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ConfigError(f"the sandbox's limit {name} must be positive, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one program.

    Attributes:
        outcome: see `Outcome`.
        detail: the exception, the signal or the limit, in words; empty where it passed or finished.
        stdout: what it printed, cut at the limit.
        stderr: likewise.
        seconds: wall time from the start of the process to its end.
        cpu: processor seconds as the kernel counted them, the start of the interpreter included; 0 where the program
            ended in the middle.
        memory: bytes that were resident at the peak; likewise.
    """

    outcome: Outcome
    detail: str = ""
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a program's tests.

    Attributes:
        outcomes: of each test, in order.
        details: likewise; the exception, the signal or the limit in words.
        run: of the program itself; its outcome is that of the first test that did not pass.
    """

    outcomes: tuple[Outcome, ...]
    details: tuple[str, ...]
    run: Run

    @property
    def passed(self) -> bool:
        """Whether there were tests and all passed."""
        return bool(self.outcomes) and set(self.outcomes) == {"passed"}

    @property
    def share(self) -> float:
        """The share of the tests that passed."""
        return self.outcomes.count("passed") / len(self.outcomes)
