"""Sampling that stops when the answer is settled, and so spends more where it helps.

Adaptive consistency (Aggarwal et al. 2023, arXiv 2305.11860): after every few samples ask how probable it is that the
answer which leads would lead with endless samples, and stop when that is probable enough. The probability is the
paper's Beta approximation: between the two most frequent answers, with v1 and v2 votes, it is P(p > 1/2) under
Beta(v1 + 1, v2 + 1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from scipy.special import betainc

from espalier.engines.base import Sampling
from espalier.search.aggregate import Choose, Extract, best, candidates, final_answer, majority
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.trees import Node

Enough = Callable[[Sequence[Node]], bool]
"""Whether the leaves that a prompt has settle its answer."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The leading answer would lead with endless samples, with at least this probability.

    >>> leaves = [Node(answer, stop="eos") for answer in ("3", "3", "4", "3", "3", "3")]
    >>> Settled(0.9, extract=str)(leaves), Settled(0.95, extract=str)(leaves)
    (True, False)
    """

    probability: float = 0.95
    extract: Extract = final_answer

    def __call__(self, leaves: Sequence[Node]) -> bool:
        answers = [answer for leaf in candidates(leaves) if (answer := self.extract(leaf.response())) is not None]
        votes = [count for _, count in Counter(answers).most_common(2)]
        return bool(votes) and bool(betainc(sum(votes[1:]) + 1, votes[0] + 1, 0.5) >= self.probability)


@dataclass(frozen=True, slots=True)
class Certain:
    """A leaf has a score of at least `level`: a verifier that accepts, a value near 1, a self-certainty."""

    level: float
    score: str = "value"

    def __call__(self, leaves: Sequence[Node]) -> bool:
        found = best(leaves, self.score)
        return found is not None and (found.value(self.score) or 0.0) >= self.level


@dataclass
class Adaptive(Chunked):
    """`each` samples a round for the prompts whose answer is not settled, up to `n`.

    With a scorer leaves are scored as they come. On the whole a prompt costs what it needs; `Found.ledgers` says what.

    Attributes:
        n: samples of a prompt, at most.
        each: samples a round.
        sampling: how they are drawn.
        enough: the stopping rule; `Settled` at 0.95 where none is given.
        choose: picks the answer in the end; the majority vote where none is given.
        extract: the final answer of a response, for those two.
        score: the name of the score that the rule or the choice goes by; None where they need none.
    """

    n: int = 40
    each: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    enough: Enough | None = None
    choose: Choose | None = None
    extract: Extract = final_answer
    score: str | None = None
    name = "adaptive"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        enough = self.enough or Settled(extract=self.extract)
        leaves: list[list[Node]] = [[] for _ in chunk.trees]
        open_ = [True] * len(chunk.trees)
        for drawn in range(0, self.n, self.each):
            asking = [[tree.root] if go else [] for tree, go in zip(chunk.trees, open_, strict=True)]
            new = chunk.extend(asking, min(self.each, self.n - drawn), self.sampling)
            for have, more in zip(leaves, new, strict=True):
                have += more
            if self.score is not None:
                chunk.score(self.score, of=[candidates(of) for of in new])
            open_ = [bool(more) and not enough(have) for have, more in zip(leaves, new, strict=True)]
            if not any(open_):
                break
        return [self.choose(of) if self.choose is not None else majority(of, self.extract) for of in leaves]
