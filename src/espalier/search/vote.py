"""Votes over sampled answers: one vote a sample (self-consistency, Wang et al. 2022, arXiv 2203.11171), a vote that
weighs as much as the sample's score (Li et al. 2022, arXiv 2206.02336), or as its rank (Kang et al. 2025, arXiv
2502.18581)."""

from __future__ import annotations

from dataclasses import dataclass, field

from espalier.engines.base import Sampling
from espalier.search.aggregate import Extract, borda, final_answer, majority, weighted
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.sample import sampled
from espalier.trees import Node


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
    judged = False

    def grow(self, chunk: Chunk) -> list[Node | None]:
        return [majority(leaves, self.extract) for leaves in sampled(chunk, self.n, self.sampling)]


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

    def grow(self, chunk: Chunk) -> list[Node | None]:
        leaves = sampled(chunk, self.n, self.sampling, self.score)
        return [weighted(tree, self.extract, self.score) for tree in leaves]


@dataclass
class BordaVote(Chunked):
    """`n` samples of each prompt, ranked by a score: rank r of n gives (n - r + 1)^power votes to its answer.

    It goes by order alone, so the score may be any number: self-certainty (`espalier.scorers.SelfCertainty`), a reward.

    Attributes:
        n: continuations for each prompt.
        sampling: how they are drawn.
        score: the name of the score that the scorer gives.
        power: 0 is the majority vote; the larger, the nearer to best-of-n.
        extract: the final answer of a response, in a form that is equal for equal answers.
    """

    n: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "self-certainty"
    power: float = 0.5
    extract: Extract = final_answer
    name = "borda-vote"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        leaves = sampled(chunk, self.n, self.sampling, self.score)
        return [borda(tree, self.extract, self.score, self.power) for tree in leaves]
