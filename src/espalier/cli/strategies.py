"""The strategies by the names that a person types, made for a size: about how many samples' worth they may spend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.search import (
    MCTS,
    Adaptive,
    BestOfN,
    BordaVote,
    Darwin,
    DiverseTreeSearch,
    Greedy,
    MajorityVote,
    MirrorDescentSearch,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    StepBeam,
    Strategy,
    TokenBeam,
    TreeSampling,
    ValueGuided,
    WeightedVote,
)
from espalier.search.aggregate import Extract


@dataclass(frozen=True, slots=True)
class Settings:
    """What a strategy is made from.

    Attributes:
        size: how many samples, or as many candidate steps a round.
        sampling: of whole responses.
        step_tokens: longest step.
        stop: the string that ends a step.
        width: beams that live on; None for the root of half the size.
        score: what the scorer's score is called.
        vote: the final answer of a response, for scores that may weigh a vote; None to take the best-scored.
        progress: hears of what is done.
        batch: problems that are searched together.
    """

    size: int
    sampling: Sampling
    step_tokens: int
    stop: str = "\n"
    width: int | None = None
    score: str = "value"
    vote: Extract | None = None
    progress: Any = None
    batch: int = 32

    @property
    def beams(self) -> tuple[int, int]:
        """Width and expansion, whose product is about the size."""
        width = max(1, round((self.size / 2) ** 0.5)) if self.width is None else self.width
        return width, max(1, self.size // max(1, width))

    def steps(self) -> dict[str, Any]:
        """What all searches by steps take."""
        sampling = replace(self.sampling, max_tokens=self.step_tokens)
        given = {"score": self.score, "stop": self.stop, "progress": self.progress, "batch": self.batch}
        return {"sampling": sampling, **given}

    def voting(self) -> dict[str, Any]:
        """The same, for those that may vote in the end."""
        return {**self.steps(), "vote": self.vote}

    def samples(self) -> dict[str, Any]:
        """What all searches over whole samples take."""
        return {"n": self.size, "sampling": self.sampling, "progress": self.progress, "batch": self.batch}


Make = Callable[[Settings], Strategy]


def _beam(of: Settings, lookahead: int = 0) -> Strategy:
    width, expand = of.beams
    return StepBeam(width, expand, lookahead=lookahead, **of.voting())


def _diverse(of: Settings) -> Strategy:
    expand = min(4, of.size)
    return DiverseTreeSearch(max(1, of.size // expand), expand, **of.voting())


WITHOUT_SCORER: Mapping[str, Make] = {
    "greedy": lambda of: Greedy(of.sampling.max_tokens, progress=of.progress),
    "majority": lambda of: MajorityVote(**of.samples()),
    "adaptive": lambda of: Adaptive(**of.samples()),
    "token-beam": lambda of: TokenBeam(of.size, of.sampling.max_tokens, progress=of.progress),
}
"""These need no scorer."""

STRATEGIES: Mapping[str, Make] = {
    **WITHOUT_SCORER,
    "best-of-n": lambda of: BestOfN(score=of.score, **of.samples()),
    "weighted": lambda of: WeightedVote(score=of.score, **of.samples()),
    "borda": lambda of: BordaVote(score=of.score, **of.samples()),
    "beam": _beam,
    "lookahead": lambda of: _beam(of, lookahead=1),
    "diverse": _diverse,
    "mcts": lambda of: MCTS(of.size, rollout_share=0.5, **of.voting()),
    "particles": lambda of: ParticleFilter(of.size, **of.voting()),
    "gibbs": lambda of: ParticleGibbs(max(2, of.size // 4), **of.voting()),
    "tempering": lambda of: ParallelTempering(max(2, of.size // 12), **of.voting()),
    "tree": lambda of: TreeSampling(of.size, **of.voting()),
    "tree-greedy": lambda of: TreeSampling(of.size, greedy=True, **of.steps()),
    "darwin": lambda of: Darwin(max(2, of.size), max(1, of.size // 4), **of.voting()),
    "mirror": lambda of: MirrorDescentSearch(of.size, 1, **of.steps()),
    "value-guided": lambda of: ValueGuided(of.size, 0.1, score=of.score, sampling=of.sampling, progress=of.progress),
}
"""What `--strategy` and `--compare` know."""


def make(name: str, of: Settings) -> Strategy:
    """A strategy by its name.

    Raises:
        ConfigError: no strategy has this name.
    """
    if name not in STRATEGIES:
        raise ConfigError(f"no strategy is called {name!r}; there are {', '.join(STRATEGIES)}")
    return STRATEGIES[name](of)


def check_scorer(names: list[str], scorer: Any) -> None:
    """Raises:
    ConfigError: a strategy needs a scorer and there is none.
    """
    needy = [name for name in names if name in STRATEGIES and name not in WITHOUT_SCORER]
    if needy and scorer is None:
        raise ConfigError(f"--strategy {needy[0]} needs --scorer to go by")
