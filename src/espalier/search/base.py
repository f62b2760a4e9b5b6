"""The third protocol: how to spend inference compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from espalier.engines.base import Engine
from espalier.scorers.base import Scorer
from espalier.search.budget import Budget
from espalier.trees import Forest, Ledger, Node


@dataclass(frozen=True, slots=True)
class Found:
    """What a search returns.

    Attributes:
        forest: every tree as it was grown, branches not taken included.
        answers: for each tree, the leaf that was chosen, or None where nothing finished.
        ledger: what the whole search cost.
        ledgers: what each tree cost in tokens, in the forest's order: generated, and a share of those prefilled and
            scored.
        cut: for each tree, whether the budget ended its search early; empty where the strategy was given none.
    """

    forest: Forest
    answers: list[Node | None]
    ledger: Ledger
    ledgers: list[Ledger]
    cut: list[bool] = field(default_factory=list)


@runtime_checkable
class Strategy(Protocol):
    """Anything that grows trees with an engine and chooses an answer with (or without) a scorer."""

    name: str

    def search(
        self, forest: Forest, engine: Engine, scorer: Scorer | None = None, budget: Budget | None = None
    ) -> Found:
        """Grow each tree of `forest` (bare prompts) in place and choose an answer for it, within the budget."""
        ...
