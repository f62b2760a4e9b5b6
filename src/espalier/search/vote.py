"""Votes over sampled answers: one vote a sample (self-consistency, Wang et al. 2022, arXiv 2203.11171), or a vote that
weighs as much as the sample's score (Li et al. 2022, arXiv 2206.02336)."""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.engines.base import Engine, Sampling
from espalier.scorers.base import Scorer
from espalier.search.aggregate import Extract, final_answer, majority, weighted
from espalier.search.base import Found
from espalier.search.chunk import Chunked
from espalier.search.sample import sampled
from espalier.trees import Forest


@dataclass
class MajorityVote(Chunked):
    """`n` samples of each prompt; the answer is the first leaf with the answer given most often.

    Attributes:
        n: continuations for each prompt.
        sampling: how they are drawn.
        extract: the final answer of a response, in a form that is equal for equal answers.
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    extract: Extract = final_answer
    name = "majority-vote"

    def search(self, forest: Forest, engine: Engine, scorer: Scorer | None = None) -> Found:
        """Sample and vote. A scorer is not used."""
        grow = sampled(self.n, self.sampling, lambda leaves: majority(leaves, self.extract))
        return self._run(forest, engine, None, grow)


@dataclass
class WeightedVote(Chunked):
    """`n` samples of each prompt; the answer is the best-scored leaf with the answer whose scores add up highest.

    Attributes:
        n: continuations for each prompt.
        sampling: how they are drawn.
        score: the name of the score that the scorer gives; not negative, a probability of being correct at best.
        extract: the final answer of a response, in a form that is equal for equal answers.
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    extract: Extract = final_answer
    name = "weighted-vote"

    def search(self, forest: Forest, engine: Engine, scorer: Scorer | None = None) -> Found:
        """Sample, score every leaf, vote.

        Raises:
            ConfigError: no scorer, one that gives no score of that name, or a negative score.
        """
        grow = sampled(self.n, self.sampling, lambda leaves: weighted(leaves, self.extract, self.score), self.score)
        return self._run(forest, engine, scorer, grow)
