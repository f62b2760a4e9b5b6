"""Diverse verifier tree search (Beeching, Tunstall & Rush 2024, "Scaling test-time compute with open models").

Beams of one search soon descend from one ancestor, and the more of them the more so. Here every beam is a search of its
own: it draws `expand` candidates and goes on with the best of them, whatever the other beams do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.engines.base import Sampling
from espalier.search.aggregate import Extract, chosen
from espalier.search.beam import highest
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, grow, is_open, stepwise
from espalier.trees import Node


@dataclass
class DiverseTreeSearch(Chunked):
    """`width` independent searches at a time, each greedy by score; the answer is their best end, or wins a vote.

    Attributes:
        width: independent searches.
        expand: candidate steps of each in a round.
        sampling: how they are drawn; `max_tokens` is for one step.
        score: the name of the score that the scorer gives to every step.
        stop: the string that ends a step; "" for steps of `max_tokens` tokens.
        max_steps: rounds, at most.
        vote: where given, the final answer of a response, and the finished leaves take a score-weighted vote on it.
        repeats: how often, while the budget lasts: with few at a time and many repeats it is spent to the end.
    """

    width: int = 4
    expand: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    stop: Stops = "\n"
    max_steps: int = 32
    vote: Extract | None = None
    repeats: int = 1
    name = "diverse-tree-search"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        sampling = stepwise(self.sampling, self.stop)
        for _ in range(self.repeats):
            self._descend(chunk, sampling)
            if all(chunk.cut):
                break
        return [chosen(tree.leaves(), self.score, self.vote) for tree in chunk.trees]

    def _descend(self, chunk: Chunk, sampling: Sampling) -> None:
        """All searches of one time, from the prompts to their ends."""
        live = [[tree.root] * self.width for tree in chunk.trees]
        for _ in range(self.max_steps):
            drawn = grow(chunk, live, self.expand, sampling)
            chunk.score(self.score, of=[[node for nodes in tree for node in nodes] for tree in drawn])
            # A search whose best candidate has finished is done.
            heads = [[head for nodes in tree for head in self._head(nodes)] for tree in drawn]
            live = [[head for head in tree if is_open(head, sampling)] for tree in heads]
            if not any(live):
                break

    def _head(self, candidates: list[Node]) -> list[Node]:
        return highest(candidates, {node: node.value(self.score) for node in candidates}, 1)
