"""The second protocol: who says what is good."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from espalier.trees import Forest, Ledger


@runtime_checkable
class Scorer(Protocol):
    """Anything that can judge nodes.

    A scorer puts a `Score` called `name` on every node that it can judge and that has none of that name yet, so that
    scoring a growing tree again judges only what is new. What it should judge but cannot (a crash, a time-out, nothing
    to compare with) becomes a missing score with the reason.
    """

    name: str
    spent: Ledger

    def score(self, forest: Forest) -> Forest:
        """Annotate the forest in place and return it."""
        ...
