"""Best-of-n: sample n responses, keep the one that the scorer likes best (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.engines.base import Engine, Sampling
from espalier.scorers.base import Scorer
from espalier.search.aggregate import best
from espalier.search.base import Found
from espalier.search.chunk import Chunked
from espalier.search.sample import sampled
from espalier.trees import Forest


@dataclass
class BestOfN(Chunked):
    """`n` samples of each prompt; the answer is the leaf with the best score.

    Attributes:
        n: continuations for each prompt.
        sampling: how they are drawn.
        score: the name of the score that the scorer gives.
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    name = "best-of-n"

    def search(self, forest: Forest, engine: Engine, scorer: Scorer | None = None) -> Found:
        """Sample, score every leaf, choose the best.

        Raises:
            ConfigError: no scorer, or one that gives no score of that name.
        """
        return self._run(
            forest, engine, scorer, sampled(self.n, self.sampling, lambda leaves: best(leaves, self.score), self.score)
        )
