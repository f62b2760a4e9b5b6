"""A Python interpreter that a policy may call: what a program prints, from the sandbox."""

from __future__ import annotations

from espalier.sandbox.base import Limits
from espalier.sandbox.bubblewrap import ready
from espalier.sandbox.run import run


class Python:
    """A tool that runs Python and answers with what it printed, or with what went wrong.

    Each call starts anew: nothing is remembered from the one before.

    Args:
        limits: of each call.
        longest: characters of an answer; the rest is cut.

    Raises:
        SandboxError: there is no sandbox here.
    """

    def __init__(self, name: str = "python", limits: Limits | None = None, longest: int = 2000) -> None:
        ready()
        self.name, self.limits, self.longest = name, limits or Limits(), longest

    def call(self, text: str) -> str:
        done = run(text, self.limits)
        said = done.stdout if done.outcome == "finished" else f"{done.stdout}error: {done.detail}"
        said = said.rstrip("\n")
        return said if len(said) <= self.longest else f"{said[: self.longest]}... (cut)"
