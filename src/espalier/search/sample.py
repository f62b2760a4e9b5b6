"""Independent samples of every prompt, and greedy decoding: the baselines of every search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from espalier.engines.base import Sampling
from espalier.search.aggregate import candidates
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.trees import Node


@dataclass
class Sample(Chunked):
    """`n` samples of each prompt, to be scored or aggregated later; the answer is the first that finished.

    Attributes:
        n: continuations for each prompt.
        sampling: how they are drawn.
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    name = "sample"
    judged = False

    def grow(self, chunk: Chunk) -> list[Node | None]:
        return [self.choose(leaves) for leaves in sampled(chunk, self.n, self.sampling)]

    def choose(self, leaves: Sequence[Node]) -> Node | None:
        """The answer among the samples of one prompt."""
        return next(iter(candidates(leaves)), None)


@dataclass
class Greedy(Chunked):
    """The continuation that is most probable token by token.

    Attributes:
        max_tokens: at most this many new tokens.
    """

    max_tokens: int = 256
    name = "greedy"
    judged = False

    def grow(self, chunk: Chunk) -> list[Node | None]:
        sampling = Sampling(max_tokens=self.max_tokens, temperature=0.0)
        return [next(iter(leaves), None) for leaves in sampled(chunk, 1, sampling)]


def sampled(chunk: Chunk, n: int, sampling: Sampling, score: str | None = None) -> list[list[Node]]:
    """`n` independent samples of each prompt, scored where `score` names one."""
    leaves = chunk.extend([[tree.root] for tree in chunk.trees], n, sampling)
    if score is not None:
        chunk.score(score, of=[candidates(tree) for tree in leaves])
    return leaves
