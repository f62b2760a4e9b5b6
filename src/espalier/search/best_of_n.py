"""Best-of-n: sample n responses, keep the one that the scorer likes best (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.engines.base import Sampling
from espalier.search.aggregate import best
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.sample import sampled
from espalier.trees import Node


@dataclass
class BestOfN(Chunked):
    """`n` samples of each prompt; the answer is the leaf with the best score.

    The scorer may be the model itself, by how certain it was: see `espalier.scorers.certainty`.

    Attributes:
        n: continuations for each prompt.
        sampling: how they are drawn.
        score: the name of the score that the scorer gives.
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    name = "best-of-n"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        return [best(leaves, self.score) for leaves in sampled(chunk, self.n, self.sampling, self.score)]
