"""What runs inside the walls: a program that answers calls, or tests that make them. Alone, it imports no Espalier.

A program and its tests are two processes behind walls of their own. Between them pass lines of plain values, never
objects or code, and the tests compare what came through. So a program can change everything in its own process and
still only answer.

Lines of the program: "+" it is loaded, "!" an exception ended the load, "=" an answer. Of the tests: "?" a call, "."
the result of a test. The outside forwards a call to the program, and the answer to the tests.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Read = Callable[[], str]
Write = Callable[[str], None]


_KINDS: dict[str, Any] = {"l": list, "t": tuple, "s": set, "f": frozenset}
_PARTS: dict[str, Callable[..., Any]] = {
    "i": lambda digits: int(digits, 16),
    "b": bytes.fromhex,
    "c": complex,
    "r": range,
}


_MARK = "of_program"
"""On an exception that the program raised: its name there."""


class ProgramError(Exception):
    """An exception of the program that the tests cannot name."""


class Gone(BaseException):
    """The program is no more, so the test cannot go on."""


def encode(value: Any) -> Any:
    """A plain value as JSON can carry it, containers and rarer kinds with a tag.

    >>> encode({"a": (1, 2.5, None)})
    ['d', [['a', ['t', [1, 2.5, None]]]]]
    """
    if value is None or isinstance(value, (bool, str, float)):
        return str(value) if isinstance(value, str) else float(value) if isinstance(value, float) else value
    if isinstance(value, int):
        return int(value) if -(2**63) < value < 2**63 else ["i", hex(value)]
    if isinstance(value, dict):
        return ["d", [[encode(key), encode(item)] for key, item in dict.items(value)]]
    for tag, kind in _KINDS.items():
        if isinstance(value, kind):
            return [tag, [encode(item) for item in kind.__iter__(value)]]
    if isinstance(value, (bytes, bytearray)):
        return ["b", bytes(value).hex()]
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    if isinstance(value, range):
        return ["r", value.start, value.stop, value.step]
    raise TypeError(f"a value of type {type(value).__name__} is not plain, and does not pass between program and tests")


def decode(value: Any) -> Any:
    """The value that `encode` was given; subclasses of plain types come back as those."""
    if not isinstance(value, list):
        return value
    tag, *rest = value
    if tag == "d":
        return {decode(key): decode(item) for key, item in rest[0]}
    if tag in _KINDS:
        return _KINDS[tag](decode(item) for item in rest[0])
    return _PARTS[tag](*rest)


def limit(limits: dict[str, Any], uid: int) -> None:
    """Take the limits, and leave root behind."""
    if os.getuid() == 0 and uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_NPROC, limits["threads"]),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(kind, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1))


def program(message: dict[str, Any], read: Read, write: Write) -> int:
    """Load the program's code, answer calls until there are no more, and wait to be measured."""
    space: dict[str, Any] = {"__name__": "program" if message["calls"] else "__main__", "__builtins__": builtins}
    status = 0
    try:
        exec(compile(message["code"], "program.py", "exec"), space)
        write("+")
    except SystemExit as error:
        # The end of a program that is only run; too early for one that is to be called.
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        write("!" + told(error) if status or message["calls"] else "+")
    except BaseException as error:
        status = 1
        write("!" + told(error))
        of_program = error.__traceback__ and error.__traceback__.tb_next
        traceback.print_exception(error.with_traceback(of_program))
    while line := read():
        try:
            name, args, kwargs = json.loads(line)
            answer = json.dumps(["value", encode(space[name](*decode(args), **decode(kwargs)))])
        except BaseException as error:
            answer = json.dumps(["raised", type(error).__name__, str(error)[:500]])
        write("=" + answer)
    return status


def tests(message: dict[str, Any], read: Read, write: Write) -> int:
    """Run each test in a fresh space where the tested names stand for calls to the program."""

    def proxy(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            write("?" + json.dumps([name, encode(args), encode(kwargs)]))
            kind, *rest = json.loads(read() or '["gone"]')
            if kind == "value":
                return decode(rest[0])
            if kind == "gone":
                raise Gone
            named = getattr(builtins, str(rest[0]), None)
            error: Exception = ProgramError(f"{rest[0]}: {rest[1]}")
            if isinstance(named, type) and issubclass(named, Exception):
                with suppress(TypeError):  # some need more than a message
                    error = named(rest[1])
            setattr(error, _MARK, rest[0])
            raise error

        return call

    for test in message["tests"]:
        space: dict[str, Any] = {"__name__": "tests", "__builtins__": builtins}
        outcome, detail = "passed", ""
        try:
            code = compile(test, "tests.py", "exec")
            exec(message["setup"], space)
        except BaseException as error:
            write("." + json.dumps(["broken test", told(error)]))
            continue
        space.update((name, proxy(name)) for name in message["names"])
        try:
            exec(code, space)
        except BaseException as error:
            theirs = getattr(error, _MARK, None)
            failed = isinstance(error, AssertionError) and theirs is None
            outcome = "failed" if failed else "out of memory" if theirs == "MemoryError" else "error"
            detail = told(error) if not failed or str(error) else "the assertion " + line_of(error, test)
        write("." + json.dumps([outcome, detail]))
    return 0


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}".removesuffix(": ").replace("\n", " ")


def line_of(error: BaseException, test: str) -> str:
    """The statement of a test's own text that an exception came from."""
    frames = traceback.extract_tb(error.__traceback__)
    at = [frame.lineno or 0 for frame in frames if frame.filename == "tests.py"]
    for node in ast.walk(ast.parse(test)):
        if isinstance(node, ast.Assert) and at and node.lineno <= at[-1] <= (node.end_lineno or 0):
            return ast.unparse(node.test)[:500]
    return "did not hold"


def main() -> int:
    role, inbox, outbox, uid = sys.argv[1], *map(int, sys.argv[2:])
    lines = os.fdopen(inbox, "rb")

    def read() -> str:
        return lines.readline().decode()

    def write(line: str) -> None:
        data = line.encode(errors="backslashreplace") + b"\n"
        while data:
            data = data[os.write(outbox, data) :]

    limit(json.loads(read()), uid)
    message = json.loads(read())
    return program(message, read, write) if role == "program" else tests(message, read, write)


if __name__ == "__main__":
    sys.exit(main())
