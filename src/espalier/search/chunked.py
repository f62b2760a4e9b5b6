"""What the settings of all strategies have in common, and the loop over chunks of a forest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import ClassVar

from espalier.engines.base import Engine
from espalier.engines.together import together
from espalier.errors import ConfigError
from espalier.scorers.base import Scorer
from espalier.search.aggregate import candidates
from espalier.search.base import Found
from espalier.search.budget import Budget, Limits, Meter
from espalier.search.chunk import Chunk
from espalier.trees import Forest, Ledger, Node, Tree

_IN_FLIGHT = 4  # the places of an engine stay full while the longest steps of a batch end, and prefixes stay held

Progress = Callable[[int, int], None]
"""Called with the trees that are done and the trees in all, after every chunk."""


@dataclass
class Chunked(ABC):
    """What the settings of every strategy have in common, and the loop over chunks. A strategy says how a chunk grows.

    Trees grow in place: if a search is stopped, the chunks that were done keep their branches.

    Attributes:
        batch: how many trees grow together; with another number the same seed draws other samples.
        in_flight: how many such batches are under way at a time, on an engine that can (`LocalEngine`): while one waits
            for its longest step, the steps of others run. What is drawn does not depend on it. None: four, or one
            where a budget limits the whole search, since that is handed on from one batch to the next.
        progress: called with (trees done, trees in all) after every chunk.
    """

    batch: int = field(default=32, kw_only=True)
    in_flight: int | None = field(default=None, kw_only=True)
    progress: Progress | None = field(default=None, kw_only=True)
    judged: ClassVar[bool] = True
    """Whether a scorer is used."""
    name = ""  # without a type, so that it is no setting

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, least = getattr(self, setting.name), setting.metadata.get("least", 1)
            if setting.type in ("int", "int | None") and value is not None and value < least:
                raise ConfigError(f"{type(self).__name__}: {setting.name} must be at least {least}, found {value}")

    @abstractmethod
    def grow(self, chunk: Chunk) -> list[Node | None]:
        """Grow the trees of one chunk and return the chosen leaf of each."""

    def others(self) -> list[Engine]:
        """Engines besides the search's own, whose cost counts too."""
        return []

    def search(
        self, forest: Forest, engine: Engine, scorer: Scorer | None = None, budget: Budget | None = None
    ) -> Found:
        """Search a forest of bare prompts.

        Raises:
            ConfigError: the forest is empty, a tree has branches already, or the strategy needs a scorer and there is
                none, or one that gives no score of the name that it goes by.
        """
        forest = forest.load()
        if not len(forest):
            raise ConfigError("nothing to search: the forest is empty")
        for tree in forest:
            if tree.root.children:
                raise ConfigError(f"tree {tree.id!r} has branches already; search grows bare prompts: forest.prompts()")
        others, scorer = self.others(), scorer if self.judged else None
        one_by_one = budget is not None and budget.total != Limits()
        in_flight = self.in_flight or (1 if one_by_one else _IN_FLIGHT)
        if one_by_one and in_flight > 1:
            raise ConfigError(
                "a limit on the whole search is handed on from one batch of trees to the next: give Budget(tree=...), "
                f"or leave in_flight out, found {in_flight}"
            )
        meter = Meter(engine, scorer, others)

        def grown(index: int, first: int, seat: Engine) -> tuple[Chunk, list[Node | None]]:
            trees, share = list(forest[first : first + self.batch]), budget
            if budget is not None:
                part = len(trees) / (len(forest) - first)
                share = replace(budget, total=budget.total.share(meter(), budget.prices, part))
            chunk = Chunk(trees, seat, scorer, index, share, others)
            return chunk, self.grow(chunk)

        callers = [partial(grown, *at) for at in enumerate(range(0, len(forest), self.batch))]
        ended: dict[int, tuple[Chunk, list[Node | None]]] = {}
        done = 0
        for index, end in together(engine, callers, in_flight):
            ended[index] = end
            done += len(end[0].trees)
            if self.progress is not None:
                self.progress(done, len(forest))
        answers, ledgers, cut = list[Node | None](), list[Ledger](), list[bool]()
        for _, (chunk, found) in sorted(ended.items()):
            answers += map(_standing, found, chunk.trees, chunk.cut)
            ledgers += chunk.spent
            cut += chunk.cut if budget is not None else []
        return Found(forest, answers, meter.bill(), ledgers, cut)


def _standing(answer: Node | None, tree: Tree, cut: bool) -> Node | None:
    """Where the budget ended before anything could be chosen, the first response that stands."""
    if answer is not None or not cut:
        return answer
    return next(iter(candidates([leaf for leaf in tree.leaves() if leaf.author == "policy"])), None)
