"""What every strategy stands on: trees grown a chunk at a time, a seed for each round, a ledger for each tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from espalier.engines.base import Engine, Sampling
from espalier.errors import ConfigError, ContextLengthError, EngineError
from espalier.scorers.base import Scorer
from espalier.search.base import Found
from espalier.trees import Forest, Ledger, Node, Tree

Progress = Callable[[int, int], None]
"""Called with the trees that are done and the trees in all, after every chunk."""


class Chunk:
    """Some trees that grow together, and what they cost.

    Attributes:
        trees: the trees.
        generated: tokens sampled for each tree, those of branches that were dropped afterwards included.
        scored: tokens scored for each tree, as `score` shares them out.
    """

    def __init__(self, trees: Sequence[Tree], engine: Engine, scorer: Scorer | None, index: int) -> None:
        self.trees, self.engine, self.scorer = trees, engine, scorer
        self.generated = [0] * len(trees)
        self.scored = [0] * len(trees)
        self._index, self._round = index, 0
        self._unjudged: list[list[Node]] = [[] for _ in trees]

    def extend(self, prefixes: Sequence[Sequence[Node]], n: int, sampling: Sampling) -> list[list[Node]]:
        """Grow `n` branches on every prefix of every tree, in one call to the engine.

        Each call draws from another seed, which follows from `sampling.seed`, the chunk and the number of the call.

        Returns:
            For each tree its new nodes, already attached.

        Raises:
            ContextLengthError: a prompt is longer than the context. A longer prefix that has filled it stays a leaf.
            EngineError: the engine returned another number of nodes than asked for, or nodes without token ids.
        """
        seeds = np.random.SeedSequence([sampling.seed, self._index, self._round])
        sampling = replace(sampling, seed=int(seeds.generate_state(1)[0]))
        self._round += 1
        flat = [prefix for tree in prefixes for prefix in tree]
        grown = iter(self._continue(flat, n, sampling))
        new: list[list[Node]] = []
        for i, tree in enumerate(prefixes):
            nodes = [prefix.add(node) for prefix in tree for node in next(grown)]
            for node in nodes:
                if node.token_ids is None:
                    raise EngineError(f"{type(self.engine).__name__}.extend returned a node without token ids")
                self.generated[i] += len(node.token_ids)
            self._unjudged[i] += nodes
            new.append(nodes)
        return new

    def _continue(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        if not prefixes:
            return []
        try:
            grown = self.engine.extend(prefixes, n, sampling)
        except ContextLengthError:
            if any(prefix.parent is None for prefix in prefixes):
                raise
            if len(prefixes) == 1:
                return [[]]
            half = len(prefixes) // 2
            return self._continue(prefixes[:half], n, sampling) + self._continue(prefixes[half:], n, sampling)
        counts = [len(nodes) for nodes in grown]
        if counts != [n] * len(prefixes):
            name = type(self.engine).__name__
            raise EngineError(
                f"{name}.extend returned {counts} nodes, expected {n} for each of {len(prefixes)} prefixes"
            )
        return grown

    def score(self, name: str, of: Sequence[Sequence[Node]]) -> None:
        """Let the scorer judge what is new; `of` are the nodes of each tree that the strategy will rank by it.

        What the scorer spent in tokens is shared out over the trees in proportion to the characters on the paths to
        their new nodes (a prompt need not have token ids here): an estimate for each tree, exact in the sum.

        Raises:
            ConfigError: there is no scorer, or none of these nodes has a score called `name` now, not even missing.
        """
        if self.scorer is None:
            raise ConfigError(f"this strategy goes by the score {name!r} and needs a scorer that gives it")
        before = self.scorer.spent
        self.scorer.score(Forest(self.trees))
        weights = []
        for nodes in self._unjudged:
            # A node without a parent was cut off again before it could be judged.
            paths = {step: None for node in nodes if node.parent is not None for step in node.path()}
            weights.append(sum(len(step.text) for step in paths))
        for i, share in enumerate(_share_out((self.scorer.spent - before).scored, weights)):
            self.scored[i] += share
        self._unjudged = [[] for _ in self.trees]
        ranked = [node for nodes in of for node in nodes]
        if ranked and not any(name in node.scores for node in ranked):
            raise ConfigError(
                f"scorer {self.scorer.name!r} gave no node a score called {name!r} (found: "
                f"{sorted({given for node in ranked for given in node.scores})}); check the name, and that the scorer "
                "judges texts that pause at a stop string if these do"
            )


@dataclass
class Chunked:
    """What the settings of every strategy have in common, and the loop over chunks.

    Trees grow in place: if a search is stopped, the chunks that were done keep their branches.

    Attributes:
        batch: how many trees grow together; with another number the same seed draws other samples.
        progress: called with (trees done, trees in all) after every chunk.
    """

    batch: int = field(default=32, kw_only=True)
    progress: Progress | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if isinstance(value, int) and value < 1:
                raise ConfigError(f"{type(self).__name__}: {setting.name} must be at least 1, found {value}")

    def _run(
        self, forest: Forest, engine: Engine, scorer: Scorer | None, grow: Callable[[Chunk], list[Node | None]]
    ) -> Found:
        """Search a forest of bare prompts; `grow` grows the trees of one chunk and returns the chosen leaf of each.

        Raises:
            ConfigError: the forest is empty, or a tree has branches already.
        """
        forest = forest.load()
        if not len(forest):
            raise ConfigError("nothing to search: the forest is empty")
        for tree in forest:
            if tree.root.children:
                raise ConfigError(f"tree {tree.id!r} has branches already; search grows bare prompts: forest.prompts()")
        before = _spent(engine, scorer)
        answers: list[Node | None] = []
        ledgers: list[Ledger] = []
        for index, first in enumerate(range(0, len(forest), self.batch)):
            chunk = Chunk(list(forest[first : first + self.batch]), engine, scorer, index)
            answers += grow(chunk)
            ledgers += [Ledger(generated=g, scored=s) for g, s in zip(chunk.generated, chunk.scored, strict=True)]
            if self.progress is not None:
                self.progress(len(answers), len(forest))
        return Found(forest, answers, _spent(engine, scorer) - before, ledgers)


def _spent(engine: Engine, scorer: Scorer | None) -> Ledger:
    return engine.spent if scorer is None else engine.spent + scorer.spent


def _share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of `total` in proportion to the weights (evenly where all are 0), which add up to it."""
    ends = np.cumsum([0, *(weights if any(weights) else [1] * len(weights))])
    return np.diff(np.rint(total * ends / ends[-1]).astype(int)).tolist()
