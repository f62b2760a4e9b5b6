"""Independent samples of every prompt, and greedy decoding: the baselines of every search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from espalier.engines.base import Engine, Sampling
from espalier.scorers.base import Scorer
from espalier.search.aggregate import Choose, candidates
from espalier.search.base import Found
from espalier.search.chunk import Chunk, Chunked
from espalier.trees import Forest, Node


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

    def search(self, forest: Forest, engine: Engine, scorer: Scorer | None = None) -> Found:
        """Grow `n` leaves on each prompt. A scorer is not used."""
        return self._run(forest, engine, None, sampled(self.n, self.sampling, lambda leaves: candidates(leaves)[0]))


@dataclass
class Greedy(Chunked):
    """The continuation that is most probable token by token.

    Attributes:
        max_tokens: at most this many new tokens.
    """

    max_tokens: int = 256
    name = "greedy"

    def search(self, forest: Forest, engine: Engine, scorer: Scorer | None = None) -> Found:
        """Grow one leaf on each prompt. A scorer is not used."""
        sampling = Sampling(max_tokens=self.max_tokens, temperature=0.0)
        return self._run(forest, engine, None, sampled(1, sampling, lambda leaves: leaves[0]))


def sampled(
    n: int, sampling: Sampling, choose: Choose, score: str | None = None
) -> Callable[[Chunk], list[Node | None]]:
    """Growth by `n` independent samples of each prompt, scored where `score` names one, then one choice a tree."""

    def grow(chunk: Chunk) -> list[Node | None]:
        leaves = chunk.extend([[tree.root] for tree in chunk.trees], n, sampling)
        if score is not None:
            chunk.score(score, of=[candidates(tree) for tree in leaves])
        return [choose(tree) for tree in leaves]

    return grow
