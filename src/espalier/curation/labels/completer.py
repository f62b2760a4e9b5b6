"""One service for all step labels: who finishes the prefixes of many trees at once, and which of them come out right.

A labelling method is a generator over one tree: it yields the nodes that it wants finished, gets back the scored ends
of their completions, and goes on until it has written its labels. `drive` runs the generators of many trees side by
side, so that even a method that asks for one prefix at a time (a binary search) fills the engine's batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TypeAlias

from espalier.engines.base import Engine, Sampling, unless_full
from espalier.errors import ConfigError
from espalier.scorers.base import Scorer
from espalier.trees import Forest, Ledger, Node, Score, Tree

Ends: TypeAlias = list[list[Node]]
"""For each prefix that was asked for, the last nodes of its completions, each scored and attached to no tree."""

Method: TypeAlias = Callable[[Tree], Generator[list[Node], Ends, None]]


class Completer:
    """Extends prefixes to the end and scores what comes out.

    Args:
        engine: writes the completions; the policy itself, or a prover.
        scorer: judges ends of responses; a success is a score of 1, and any number may be averaged.
        n: completions of each prefix.
        sampling: how to draw them. A prefix draws the same ones whatever else is asked for with it.

    Attributes:
        completions: how many were written so far.
    """

    def __init__(self, engine: Engine, scorer: Scorer, n: int = 8, sampling: Sampling | None = None) -> None:
        if n < 1:
            raise ConfigError(f"n must be at least 1, found {n}")
        self.engine, self.scorer, self.n = engine, scorer, n
        self.sampling = sampling or Sampling()
        self.completions = 0

    @property
    def spent(self) -> Ledger:
        """What engine and scorer have spent."""
        return self.engine.spent + self.scorer.spent

    def complete(self, trees: Sequence[Tree], prefixes: Sequence[Sequence[Node]], round_: int = 0) -> list[Ends]:
        """For each tree the ends of `n` completions of each of these nodes; none where one has filled the context.

        The scorer sees the completions on their trees, and may score the trees' own nodes too.

        Args:
            round_: another number draws others for the same prefix.
        """
        asked = [node for nodes in prefixes for node in nodes]
        if not asked:
            return [[] for _ in prefixes]
        grown = self._extend(asked, replace(self.sampling, seed=self.sampling.seed + 1_000_003 * round_))
        for prefix, starts in zip(asked, grown, strict=True):
            for start in starts:
                prefix.add(start)
        self.scorer.score(Forest([tree for tree, nodes in zip(trees, prefixes, strict=True) if nodes]))
        for starts in grown:
            for start in starts:
                start.detach()
        self.completions += sum(map(len, grown))
        ends = iter([[_end(start) for start in starts] for starts in grown])
        return [[next(ends) for _ in nodes] for nodes in prefixes]

    def _extend(self, prefixes: list[Node], sampling: Sampling) -> list[list[Node]]:
        return unless_full(prefixes, lambda few: self.engine.extend(few, self.n, sampling))


def drive(trees: Sequence[Tree], method: Method, completer: Completer) -> None:
    """Label trees in place, all at once: one call to the engine for what all of them ask for."""
    completer.scorer.score(Forest(list(trees)))  # the outcomes of the responses that are there
    going = [(tree, method(tree)) for tree in trees]
    asking = [(tree, run, wanted) for tree, run in going if (wanted := next(run, None)) is not None]
    while asking:
        found = completer.complete([tree for tree, _, _ in asking], [wanted for _, _, wanted in asking])
        following = []
        for (tree, run, _), ends in zip(asking, found, strict=True):
            try:
                following.append((tree, run, run.send(ends)))
            except StopIteration:
                continue
        asking = following


def estimate(ends: Sequence[Node], name: str) -> Score:
    """The mean score of completions, and how far it may be off; missing where none could be judged.

    The spread is one standard deviation: of successes and failures that of the Beta posterior under Jeffreys' prior,
    which is not 0 where all of a few succeeded; of other numbers that of their mean.
    """
    known = [value for end in ends if (value := end.value(name)) is not None]
    n = len(known)
    if not n:
        return Score.absent(f"none of {len(ends)} completions could be judged by {name!r}")
    mean = math.fsum(known) / n
    if set(known) <= {0.0, 1.0}:
        a, b = n * mean + 0.5, n * (1 - mean) + 0.5
        return Score(mean, math.sqrt(a * b / (a + b + 1)) / (a + b))
    return Score(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in known) / max(n - 1, 1) / n) if n > 1 else None)


def is_step(node: Node) -> bool:
    """Whether a node can have a step label."""
    return node.parent is not None and node.author in ("policy", "human")


def is_open(node: Node) -> bool:
    """Whether there is something left to write after a node: it is on the way, or only pauses."""
    return not node.is_leaf or node.stop == "stop"


def _end(node: Node) -> Node:
    while node.children:
        node = node.children[0]
    return node
