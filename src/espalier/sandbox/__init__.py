"""Where code that a model wrote runs: bubblewrap, no network, no home, limits on time, memory, output and processes."""

from espalier.sandbox.base import Limits, Outcome, Run, SandboxError, Verdict
from espalier.sandbox.bubblewrap import ready, sandboxed
from espalier.sandbox.judge import parallel, run_tests
from espalier.sandbox.run import run
from espalier.sandbox.tool import Python

__all__ = [
    "Limits",
    "Outcome",
    "Python",
    "Run",
    "SandboxError",
    "Verdict",
    "parallel",
    "ready",
    "run",
    "run_tests",
    "sandboxed",
]
