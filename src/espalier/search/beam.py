"""Step-level beam search guided by a value model, and lookahead (Snell et al. 2024, arXiv 2408.03314, section 5.2).

Each round continues every live prefix by `expand` candidate steps, scores the candidates, and lets the best `width`
live on. The first round has one prefix, the prompt, and draws width * expand candidates, so that every round costs the
same. Candidates that complete the response are collected and leave their place to others, so a beam does not shrink.
All trees of a chunk advance together: one call to the engine and one to the scorer a round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from espalier.engines.base import Sampling
from espalier.search.aggregate import Extract, chosen
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, distinct, grow, is_open, roll, stepwise
from espalier.trees import Node


@dataclass
class StepBeam(Chunked):
    """Step-level beam search; the answer is the best-scored of the finished leaves, or wins their weighted vote.

    Branches not taken stay in the tree, as leaves that stopped. A candidate that repeats another of the same prefix is
    merged with it: `meta["draws"]` of the one that stays says how often it was drawn, and every draw is in the ledger.

    Attributes:
        width: how many prefixes live on after a round.
        expand: candidate steps drawn for each of them.
        sampling: how they are drawn; `max_tokens` is for one step, and a step cut by it is not continued.
        score: the name of the score that the scorer gives to every step.
        stop: the string that ends a step; "" for steps of `max_tokens` tokens.
        max_steps: rounds, at most.
        vote: where given, the final answer of a response, and the finished leaves take a score-weighted vote on it.
        lookahead: a candidate is judged by the state that so many more greedy steps lead to. Those steps stay in the
            tree, and where they finish the response, they are answers like others.
    """

    width: int = 4
    expand: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    stop: Stops = "\n"
    max_steps: int = 32
    vote: Extract | None = None
    lookahead: int = field(default=0, metadata={"least": 0})
    name = "step-beam"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        sampling = stepwise(self.sampling, self.stop)
        live = [[tree.root] for tree in chunk.trees]
        for step in range(self.max_steps):
            drawn = grow(chunk, live, self.expand if step else self.width * self.expand, sampling)
            new = [distinct(node for nodes in tree for node in nodes) for tree in drawn]
            ahead = roll(chunk, new, self.lookahead, replace(sampling, temperature=0.0))
            chunk.score(self.score, of=ahead)
            live = [self._survivors(dict(zip(*tree, strict=True)), sampling) for tree in zip(new, ahead, strict=True)]
            if not any(live):
                break
        return [chosen(tree.leaves(), self.score, self.vote) for tree in chunk.trees]

    def _survivors(self, judged: Mapping[Node, Node], sampling: Sampling) -> list[Node]:
        """Of the nodes that can go on the best `width` by the states that judge them, of equals the first.

        A step without a score cannot be ranked and does not live on.
        """
        going = [node for node in judged if is_open(node, sampling)]
        return highest(going, {node: judged[node].value(self.score) for node in going}, self.width)


def highest(nodes: Sequence[Node], values: Mapping[Node, float | None], count: int) -> list[Node]:
    """The nodes with the `count` highest values, of equals the first; those without a value are left out."""
    known = [(value, node) for node in nodes if (value := values[node]) is not None]
    return [node for _, node in sorted(known, key=lambda item: -item[0])[:count]]
