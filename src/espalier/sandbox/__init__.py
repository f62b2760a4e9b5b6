"""Where code that a model wrote runs: bubblewrap, no network, no home, limits on time, memory, output and processes."""

from espalier.sandbox.base import Limits, Outcome, Run, SandboxError, Tested
from espalier.sandbox.bubblewrap import ready, sandboxed
from espalier.sandbox.judge import parallel, run_tests
from espalier.sandbox.run import run

__all__ = [
    "Limits",
    "Outcome",
    "Run",
    "SandboxError",
    "Tested",
    "parallel",
    "ready",
    "run",
    "run_tests",
    "sandboxed",
]
