"""Step-level beam search guided by a value model (Snell et al. 2024, arXiv 2408.03314, section 5.2).

Each round continues every live prefix by `expand` candidate steps, scores the candidates, and lets the best `width`
live on. The first round has one prefix, the prompt, and draws width * expand candidates, so that every round costs the
same. Candidates that complete the response are collected and leave their place to others, so a beam does not shrink.
All trees of a chunk advance together: one call to the engine and one to the scorer a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from espalier.engines.base import Engine, Sampling
from espalier.scorers.base import Scorer
from espalier.search.aggregate import Extract, best, weighted
from espalier.search.base import Found
from espalier.search.chunk import Chunk, Chunked
from espalier.trees import Forest, Node


@dataclass
class StepBeam(Chunked):
    """Step-level beam search; the answer is the best-scored of the finished leaves, or wins their weighted vote.

    Attributes:
        width: how many prefixes live on after a round.
        expand: candidate steps drawn for each of them.
        sampling: how they are drawn; `max_tokens` is for one step, and a step cut by it is not continued.
        score: the name of the score that the scorer gives to every step.
        stop: the string that ends a step.
        max_steps: rounds, at most.
        vote: where given, the final answer of a response, and the finished leaves take a score-weighted vote on it.
    """

    width: int = 4
    expand: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    stop: str = "\n"
    max_steps: int = 32
    vote: Extract | None = None
    name = "step-beam"

    def search(self, forest: Forest, engine: Engine, scorer: Scorer | None = None) -> Found:
        """Grow each tree step by step. Branches not taken stay in the tree, as leaves that stopped.

        A candidate that repeats another of the same prefix is merged with it: `meta["draws"]` of the one that stays
        says how often it was drawn, and every draw is in the ledger.

        Raises:
            ConfigError: no scorer, or one that gives the steps no score of that name.
        """
        return self._run(forest, engine, scorer, self._grow)

    def _grow(self, chunk: Chunk) -> list[Node | None]:
        sampling = replace(self.sampling, stop=(self.stop,))
        live = [[tree.root] for tree in chunk.trees]
        for step in range(self.max_steps):
            new = chunk.extend(live, self.expand if step else self.width * self.expand, sampling)
            new = [_merge_repeats(nodes) for nodes in new]
            chunk.score(self.score, of=new)
            live = [self._survivors([node for node in nodes if node.stop == "stop"]) for nodes in new]
            if not any(live):
                break
        return [self._choose(tree.leaves()) for tree in chunk.trees]

    def _survivors(self, nodes: Sequence[Node]) -> list[Node]:
        """The best `width`, of equals the first. A step without a score cannot be ranked and does not live on."""
        values = [(value, node) for node in nodes if (value := node.value(self.score)) is not None]
        return [node for _, node in sorted(values, key=lambda item: -item[0])[: self.width]]

    def _choose(self, leaves: Sequence[Node]) -> Node | None:
        return best(leaves, self.score) if self.vote is None else weighted(leaves, self.vote, self.score)


def _merge_repeats(nodes: Sequence[Node]) -> list[Node]:
    """Cut off the candidates that say what an earlier one of the same prefix said, and count them there."""
    first: dict[tuple[int, str, str | None], Node] = {}
    for node in nodes:
        kept = first.setdefault((id(node.parent), node.text, node.stop), node)
        if kept is not node:
            node.detach()
            kept.meta["draws"] = kept.meta.get("draws", 1) + 1
    return list(first.values())
