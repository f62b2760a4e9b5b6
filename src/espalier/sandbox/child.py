"""One process behind the walls: lines in, lines out, what it prints, and why it ended."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import randbelow
from typing import Any

from espalier.sandbox.base import Limits, Outcome, Run
from espalier.sandbox.bubblewrap import command
from espalier.sandbox.seccomp import seccomp_filter

_CHUNK = 2**16


class Child:
    """A process in the sandbox, from its start to its end. The only messages are lines; those of the child are bytes.

    Attributes:
        lines: what it has sent and nobody has taken yet.
        over: whether it has ended, by itself or stopped.
    """

    def __init__(self, role: str, message: Mapping[str, Any], limits: Limits) -> None:
        self.limits, self.lines, self.over = limits, deque[bytes](), False
        self._reason: tuple[Outcome, str] | None = None
        self._told, self._cpu, self._memory = "", 0.0, 0
        self._unsent = b""
        self._rest = b""
        self._printed: dict[int, bytearray] = {}
        inbox, self._to = os.pipe()
        self._from, outbox = os.pipe()
        self._status_from, status = os.pipe()
        self._started = time.perf_counter()
        # Every run as root has a user of its own, so that limits on its threads are its own.
        arguments = [role, str(inbox), str(outbox), str(30_000 + randbelow(30_000))]
        with tempfile.TemporaryFile() as file:
            rules = seccomp_filter()
            if rules is not None:
                file.write(rules)
                file.seek(0)
            try:
                words = [*command(limits, status, None if rules is None else file.fileno()), *arguments]
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    pass_fds=(inbox, outbox, status, *([] if rules is None else [file.fileno()])),
                )
            except BaseException:
                os.close(self._to)
                os.close(self._from)
                os.close(self._status_from)
                raise
            finally:
                os.close(inbox)
                os.close(outbox)
                os.close(status)
        self._exit = os.pidfd_open(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._streams = (self._process.stdout.fileno(), self._process.stderr.fileno())
        self._printed = {stream: bytearray() for stream in self._streams}
        self._open = {self._from, *self._streams}
        for fd in (self._to, self._status_from, *self._open):
            os.set_blocking(fd, False)
        self.send(json.dumps({name: getattr(limits, name) for name in Limits.__slots__}).encode())
        self.send(json.dumps(message).encode())

    def send(self, line: bytes) -> None:
        self._unsent += line + b"\n"

    def stop(self, outcome: Outcome, detail: str) -> None:
        """End it now, for this reason; unless it has ended already."""
        if not self.over:
            self._reason = self._reason or (outcome, detail)
            signal.pidfd_send_signal(self._exit, signal.SIGKILL)  # Popen.kill might reap it first
            self._end()

    def finish(self, seconds: float = 1.0) -> None:
        """Measure it, ask it to end, and let it do so within some seconds."""
        if not self.over:
            self.measure()
        self._unsent = b""
        if self._to >= 0:
            os.close(self._to)
            self._to = -1
        deadline = time.perf_counter() + seconds
        while not self.over and time.perf_counter() < deadline:
            step([self], deadline)
        self.stop("timed out", "it did not end when asked to")

    def run(self) -> Run:
        """The record of a child that is over."""
        outcome, detail = self.ended()
        out, err = (self._printed[fd][: self.limits.output].decode(errors="replace") for fd in self._streams)
        return Run(outcome, detail, out, err, self._seconds, self._cpu, self._memory)

    def ended(self) -> tuple[Outcome, str]:
        """Why it ended: the outcome and its words."""
        if self._reason is not None:
            return self._reason
        code = self._code
        number = code - 128 if code > 128 else -code if code < 0 else 0
        if number == signal.SIGSYS:
            return "violation", "it asked the kernel for the network, another process, tracing or a mount"
        # Who ignores SIGXCPU is killed a second later.
        if number == signal.SIGXCPU or (number == signal.SIGKILL and self._seconds > self.limits.cpu):
            return "timed out", f"more than {self.limits.cpu} seconds of processor time"
        if number:
            known = number in signal.valid_signals()
            return "killed", signal.Signals(number).name if known else f"signal {number}"
        if self._told:
            return failure(self._told)
        return ("finished", "") if code == 0 else ("error", f"it ended with status {code}")

    def told(self, line: bytes) -> None:
        """Remember the exception that the child sent before it ended."""
        self._told = line.decode(errors="replace")

    def measure(self) -> None:
        """Note the processor time and the memory of the child while it waits; the kernel's figures, not its own."""
        with suppress(OSError, ValueError, KeyError, IndexError):
            first = json.loads(os.read(self._status_from, _CHUNK).split(b"\n")[0])["child-pid"]
            program = int(Path(f"/proc/{first}/task/{first}/children").read_text().split()[0])
            status = Path(f"/proc/{program}/status").read_text()
            self._memory = 1024 * int(status.split("VmHWM:")[1].split()[0])
            self._cpu = time.clock_gettime(
                ~program << 3 | 2
            )  # the processor clock of another process, see clock_getcpuclockid

    def _ready(self, fd: int) -> None:
        if fd == self._exit:
            self._end()
        elif fd == self._to:
            try:
                self._unsent = self._unsent[os.write(fd, self._unsent[:_CHUNK]) :]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self._unsent = b""
        else:
            self._read(fd)

    def _read(self, fd: int) -> bool:
        """Take what is there; False where there is nothing now."""
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self._open.discard(fd)
            return False
        if fd == self._from:
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.lines.extend(lines)
            # Lines that nobody asked for pile up here too.
            size = len(self._rest) + sum(map(len, self.lines))
        else:
            self._printed[fd] += data
            size = len(self._printed[fd])
        if size > self.limits.output:
            what = "a message" if fd == self._from else "the output"
            self.stop("output too large", f"{what} of more than {self.limits.output} bytes")
            return False
        return True

    def _end(self) -> None:
        """Reap the process, and read what it left in the pipes."""
        self._code = self._process.wait()
        self.over = True
        self._seconds = time.perf_counter() - self._started
        for fd in sorted(self._open):
            while self._read(fd):
                pass
        for fd in (self._exit, self._from, self._status_from, *([self._to] if self._to >= 0 else [])):
            os.close(fd)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _waits_for(self) -> dict[int, int]:
        waits = dict.fromkeys((self._exit, *self._open), select.POLLIN)
        if self._unsent and self._to >= 0:
            waits[self._to] = select.POLLOUT
        return waits


def step(children: Sequence[Child], deadline: float) -> None:
    """Wait for one thing to happen to any of these children that are not over, no longer than to the deadline."""
    poll, owners = select.poll(), dict[int, Child]()
    for child in children:
        if not child.over:
            for fd, event in child._waits_for().items():
                poll.register(fd, event)
                owners[fd] = child
    if not owners:
        return
    for fd, _ in poll.poll(max(0.0, 1000 * (deadline - time.perf_counter()))):
        if not owners[fd].over:
            owners[fd]._ready(fd)


def failure(told: str) -> tuple[Outcome, str]:
    """The outcome of an exception, as the child told of it."""
    name = told.split(":")[0]
    outcomes: dict[str, Outcome] = {"MemoryError": "out of memory", "AssertionError": "failed"}
    return outcomes.get(name, "error"), told
