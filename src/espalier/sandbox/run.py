"""Run a program for what it prints."""

from __future__ import annotations

import time

from espalier.sandbox.base import Limits, Run
from espalier.sandbox.bubblewrap import ready
from espalier.sandbox.child import Child, step


def run(code: str, limits: Limits | None = None) -> Run:
    """Run Python code in a sandbox. The standard library is there; other packages are not.

    Exit status 0 gives "finished", which says nothing about whether the code is right; see `run_tests` for that.

    Raises:
        SandboxError: there is no sandbox here.
    """
    ready()
    return run_here(code, limits or Limits())


def run_here(code: str, limits: Limits) -> Run:
    """`run` without the trial that the sandbox works."""
    child = Child("program", {"code": code, "calls": False}, limits)
    deadline = time.perf_counter() + limits.seconds
    try:
        while not child.over and not child.lines and time.perf_counter() < deadline:
            step([child], deadline)
        if child.lines:
            child.finish(deadline - time.perf_counter())
        child.stop("timed out", f"more than {limits.seconds:g} seconds")
    finally:
        child.stop("killed", "interrupted")
    for line in child.lines:
        if line.startswith(b"!") and not line.startswith(b"!SystemExit"):
            child.told(line[1:])
    return child.run()
