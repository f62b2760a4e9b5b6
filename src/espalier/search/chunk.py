"""What every strategy stands on: trees that grow together, a seed for each call, a ledger and a limit a tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from espalier.engines.base import Engine, Sampling, TokenEngine, unless_full
from espalier.errors import ConfigError, EngineError
from espalier.scorers.base import Scorer
from espalier.search.budget import Budget, Meter
from espalier.trees import Forest, Ledger, Node, Tree


class Chunk:
    """Some trees that grow together, and what they cost.

    Attributes:
        trees: the trees.
        index: the number of the chunk, from 0.
        spent: what each tree cost: tokens sampled for it, those of branches that were dropped afterwards included, and
            its share of what was prefilled and scored.
        cut: which trees got less than was asked for them.
    """

    def __init__(
        self,
        trees: Sequence[Tree],
        engine: Engine,
        scorer: Scorer | None,
        index: int,
        budget: Budget | None = None,
        others: Sequence[Engine] = (),
    ) -> None:
        self.trees, self.engine, self.scorer, self.index = trees, engine, scorer, index
        self.spent = [Ledger() for _ in trees]
        self.cut = [False] * len(trees)
        self._budget = budget or Budget()
        self._meter = Meter(engine, scorer, others)
        self._calls = 0
        self._unjudged: list[list[Node]] = [[] for _ in trees]

    def extend(
        self, prefixes: Sequence[Sequence[Node]], n: int, sampling: Sampling, engine: Engine | None = None
    ) -> list[list[Node]]:
        """Grow `n` branches on every prefix of every tree; `branches` without the prefixes' bounds."""
        return [[node for nodes in tree for node in nodes] for tree in self.branches(prefixes, n, sampling, engine)]

    def branches(
        self, prefixes: Sequence[Sequence[Node]], n: int, sampling: Sampling, engine: Engine | None = None
    ) -> list[list[list[Node]]]:
        """Grow `n` branches on every prefix of every tree, in one call to the engine.

        Each call draws from another seed, which follows from `sampling.seed`, the chunk and the number of the call.
        Where the budget might end, as many branches are asked for as fit it at their longest, then, since most are
        shorter, as many as fit what is left, until nothing is; the last is cut short. So the limit on generated tokens
        is used and not exceeded. What a tree gets goes to its prefixes in turn.

        Args:
            engine: another than the search's own.

        Returns:
            For each tree and prefix the ends of its new branches, already attached: `n` of them, fewer where the
            budget ended or the prefix has filled the context. An end is a child of its prefix, or the last of a chain
            of nodes where the engine returned one.

        Raises:
            ContextLengthError: a prompt is longer than the context. A longer prefix that has filled it stays a leaf.
            EngineError: the engine returned another number of nodes than asked for, policy nodes without token ids, or
                a continuation with branches.
        """
        engine = self.engine if engine is None else engine
        new: list[list[list[Node]]] = [[[] for _ in tree] for tree in prefixes]
        rooms = self._rooms([i for i, tree in enumerate(prefixes) if tree])
        if all(n * len(prefixes[i]) * sampling.max_tokens <= room for i, room in rooms.items()):
            places = [(i, at) for i, tree in enumerate(prefixes) for at in range(len(tree))]
            self._call(engine, prefixes, places, n, sampling, new)
            return new
        waiting = {i: [(i, at) for _ in range(n) for at in range(len(prefixes[i]))] for i in rooms}
        while waiting := {i: places for i, places in waiting.items() if places}:
            calls: dict[int, list[tuple[int, int]]] = {}
            for i, room in self._rooms(list(waiting)).items():
                if room < 1:
                    self.cut[i], waiting[i] = True, []
                    continue
                longest = sampling.max_tokens if room >= sampling.max_tokens else _rounded(room)
                count = int(min(room // longest, len(waiting[i]))) if longest == sampling.max_tokens else 1
                calls.setdefault(longest, []).extend(waiting[i][:count])
                waiting[i] = waiting[i][count:]
            for longest, places in calls.items():
                ends = self._call(engine, prefixes, places, 1, replace(sampling, max_tokens=longest), new)
                if longest < sampling.max_tokens:
                    for (i, _), end in zip(places, ends, strict=True):
                        self.cut[i] |= end is not None and end.stop == "length"
        return new

    def next_tokens(self, prefixes: Sequence[Sequence[Node]], k: int) -> list[list[list[Node]]]:
        """For each prefix of each tree its `k` likeliest next tokens, best first, as nodes that are not attached.

        One prefix counts as one generated token. A prefix gets none where the budget or the context ended.

        Raises:
            ConfigError: the engine does not tell next tokens.
        """
        if not isinstance(self.engine, TokenEngine):
            raise ConfigError(
                f"{type(self.engine).__name__} does not tell the probabilities of next tokens (it has no next_tokens), "
                "and this strategy chooses token by token; use LocalEngine, or a strategy that goes by steps"
            )
        new: list[list[list[Node]]] = [[[] for _ in tree] for tree in prefixes]
        rooms, places = self._rooms([i for i, tree in enumerate(prefixes) if tree]), []
        for i, room in rooms.items():
            self.cut[i] |= room < len(prefixes[i])
            places += [(i, at) for at in range(int(min(room, len(prefixes[i]))))]
        nodes = [prefixes[i][at] for i, at in places]
        before = self.engine.spent
        for (i, at), found in zip(places, self._unless_full(nodes, lambda few: self._told(few, k)), strict=True):
            new[i][at] = found
            self.spent[i] += Ledger(generated=bool(found))
        prefilled = (self.engine.spent - before).prefilled
        self._charge("prefilled", prefilled, [[prefixes[i][at]] for i, at in places], places)
        return new

    def score(self, name: str, of: Sequence[Sequence[Node]]) -> None:
        """Let the scorer judge what is new; `of` are the nodes of each tree that the strategy will rank by it.

        What the scorer spent in tokens is shared out over the trees in proportion to the characters on the paths to
        their new nodes (a prompt need not have token ids here): an estimate for each tree, exact in the sum. Prefilled
        tokens are shared out in the same way. Trees whose budget has ended are left out.

        Raises:
            ConfigError: there is no scorer, or none of these nodes has a score called `name` now, not even missing.
        """
        if self.scorer is None:
            raise ConfigError(f"this strategy goes by the score {name!r} and needs a scorer that gives it")
        judged = [i for i in range(len(self.trees)) if self._may_score(i)]
        for i in set(range(len(self.trees))) - set(judged):
            self.cut[i] |= bool(self._unjudged[i])
        before = self.scorer.spent
        if judged:
            self.scorer.score(Forest([self.trees[i] for i in judged]))
        # A node without a parent was cut off again before it could be judged.
        new = [[node for node in (*self._unjudged[i], *of[i]) if node.parent is not None] for i in judged]
        self._charge("scored", (self.scorer.spent - before).scored, new, [(i, 0) for i in judged])
        for i in judged:
            self._unjudged[i] = []
        ranked = [node for i in judged if not self.cut[i] for node in of[i]]
        if ranked and not any(name in node.scores for node in ranked):
            raise ConfigError(
                f"scorer {self.scorer.name!r} gave no node a score called {name!r} (found: "
                f"{sorted({given for node in ranked for given in node.scores})}); check the name, and that the scorer "
                "judges texts that pause at a stop string if these do"
            )

    def rng(self, seed: int) -> np.random.Generator:
        """Random numbers for a strategy's own choices."""
        return np.random.default_rng([seed, self.index, 1])

    def _rooms(self, asking: Sequence[int]) -> dict[int, float]:
        """How many tokens each of these trees may still generate."""
        budget = self._budget
        together = budget.total.tokens(self._meter(), budget.prices) / max(1, len(asking))
        return {i: min(together, budget.tree.tokens(self.spent[i], budget.prices)) for i in asking}

    def _may_score(self, i: int) -> bool:
        budget = self._budget
        return budget.total.may_score(self._meter(), budget.prices) and budget.tree.may_score(
            self.spent[i], budget.prices
        )

    def _call(
        self,
        engine: Engine,
        prefixes: Sequence[Sequence[Node]],
        places: Sequence[tuple[int, int]],
        n: int,
        sampling: Sampling,
        new: list[list[list[Node]]],
    ) -> list[Node | None]:
        """One call to the engine for the prefixes at these places; returns the last end at each of them."""
        seeds = np.random.SeedSequence([sampling.seed, self.index, self._calls])
        sampling = replace(sampling, seed=int(seeds.generate_state(1)[0]))
        self._calls += 1
        before, last = engine.spent, list[Node | None]()
        asked = [prefixes[i][at] for i, at in places]
        grown = self._unless_full(asked, lambda few: self._grown(engine, few, n, sampling))
        for (i, at), nodes in zip(places, grown, strict=True):
            ends = [self._attach(i, prefixes[i][at], node, engine) for node in nodes]
            new[i][at] += ends
            self._unjudged[i] += ends
            last.append(ends[-1] if ends else None)
        self._charge("prefilled", (engine.spent - before).prefilled, [[node] for node in asked], places)
        return last

    def _attach(self, i: int, prefix: Node, node: Node, engine: Engine) -> Node:
        """Hang a continuation on its prefix and return its end: the node, or the last of a chain."""
        prefix.add(node)
        while True:
            node.meta["round"] = self._calls  # for those who watch the search again
            if node.author == "policy":
                if node.token_ids is None:
                    raise EngineError(f"{type(engine).__name__}.extend returned a node without token ids")
                self.spent[i] += Ledger(generated=len(node.token_ids))
            if not node.children:
                return node
            if len(node.children) > 1:
                name = type(engine).__name__
                raise EngineError(f"{name}.extend returned a continuation with branches; expected a node or a chain")
            node = node.children[0]

    def _grown(self, engine: Engine, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        grown = engine.extend(prefixes, n, sampling)
        counts = [len(nodes) for nodes in grown]
        if counts != [n] * len(prefixes):
            name = type(engine).__name__
            raise EngineError(
                f"{name}.extend returned {counts} nodes, expected {n} for each of {len(prefixes)} prefixes"
            )
        return grown

    def _told(self, prefixes: Sequence[Node], k: int) -> list[list[Node]]:
        assert isinstance(self.engine, TokenEngine)
        return self.engine.next_tokens(prefixes, k)

    def _unless_full(
        self, prefixes: Sequence[Node], ask: Callable[[Sequence[Node]], list[list[Node]]]
    ) -> list[list[Node]]:
        """What the engine answers, with nothing for prefixes that have filled the context; a prompt may not have."""
        return unless_full(prefixes, ask, may_be_full=lambda prefix: prefix.parent is not None)

    def _charge(
        self, kind: str, total: int, nodes: Sequence[Sequence[Node]], places: Sequence[tuple[int, int]]
    ) -> None:
        """Share out tokens over trees in proportion to the characters on the paths to these nodes of theirs."""
        if not total:
            return
        texts: dict[int, dict[int, int]] = {i: {} for i, _ in places}
        for (i, _), group in zip(places, nodes, strict=True):
            for node in group:
                texts[i].update((id(step), len(step.text)) for step in node.path())
        for i, share in zip(texts, _share_out(total, [sum(of.values()) for of in texts.values()]), strict=True):
            self.spent[i] += Ledger(**{kind: share})


def _share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Whole shares of `total` in proportion to the weights (evenly where all are 0), which add up to it."""
    ends = np.cumsum([0, *(weights if any(weights) else [1] * len(weights))])
    return np.diff(np.rint(total * ends / ends[-1]).astype(int)).tolist()


def _rounded(room: float) -> int:
    """At most `room`, with three binary digits before the zeros: trees share calls, and little room is lost.

    >>> [_rounded(room) for room in (1, 7, 9, 40, 47)]
    [1, 7, 8, 40, 40]
    """
    unit: int = 2 ** max(0, int(room).bit_length() - 3)
    return int(room) // unit * unit
