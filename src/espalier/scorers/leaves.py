"""The one mechanism of all verifiers: judge each response once, and turn what goes wrong into a missing score."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

from espalier.trees import Forest, Ledger, Node, Score, Tree


class Verifier(ABC):
    """A scorer that needs no model. A subclass says how one node is judged, and may say which nodes are.

    `score` judges every node that `nodes` yields and that has no score of this name yet. An exception from `judge`
    (time-outs included) is that node's missing score, never a 0, and does not end the run; see `check_missing` for
    the guard against a verifier that fails too often.

    A forest in memory is annotated in place. The trees of a stored forest are read, and the returned forest has them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.spent = Ledger()

    @abstractmethod
    def judge(self, node: Node, tree: Tree) -> Score:
        """The score of the text from the prompt to the end of `node`."""

    def nodes(self, tree: Tree) -> Iterator[Node]:
        """The nodes to judge: the end of each response, unless it only pauses at a stop string.

        A response cut by the token limit is judged as it stands: it failed to finish, which is the policy's doing and
        not the verifier's.
        """
        return (leaf for leaf in tree.leaves() if leaf.stop != "stop")

    def score(self, forest: Forest) -> Forest:
        start = time.perf_counter()
        scored = forest.load()
        waiting = [(node, tree) for tree in scored for node in self.nodes(tree) if self.name not in node.scores]
        for (node, _), score in zip(waiting, self.judge_all(waiting), strict=True):
            node.scores[self.name] = score
        self.spent += Ledger(calls=1, seconds=time.perf_counter() - start)
        return scored

    def judge_all(self, waiting: Sequence[tuple[Node, Tree]]) -> Iterable[Score]:
        """The scores of these nodes, in order; a verifier that can judge several at a time does so here."""
        return (self._judge(node, tree) for node, tree in waiting)

    def _judge(self, node: Node, tree: Tree) -> Score:
        try:
            return self.judge(node, tree)
        except Exception as error:
            return Score.absent(f"{type(error).__name__}: {error}")
