"""Particle methods: sample responses in proportion to policy times exp(score / temperature).

Particle filter, particle Gibbs and parallel tempering over steps (Puri et al. 2025, arXiv 2502.01618, algorithms 1 to
3; conditional sequential Monte Carlo: Andrieu, Doucet & Holenstein 2010). Unlike a beam they do not keep the best but
draw who lives on, so a score that is wrong here and there does not decide alone. Which target they reach is said by the
potential: see `espalier.search.potentials`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.search.aggregate import Extract, chosen
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, distinct, grow, is_open, stepwise
from espalier.search.potentials import Potential, last
from espalier.trees import Node


@dataclass(eq=False, slots=True)
class Population:
    """Particles of one tree at one temperature.

    Attributes:
        tree: its number in the chunk.
        temperature: divides the score.
        kept: a path that the first particle follows whatever its weight, or None.
        paths: of each particle the steps so far.
        ended: which particles cannot go on.
        paid: of each particle the log-weight that it was last drawn by.
        due: the log-weight since then.
    """

    tree: int
    temperature: float
    kept: list[Node] | None
    paths: list[list[Node]]
    ended: list[bool]
    paid: Float[ndarray, "particles"]
    due: Float[ndarray, "particles"]

    @classmethod
    def start(cls, tree: int, temperature: float, size: int, kept: list[Node] | None = None) -> Population:
        return cls(tree, temperature, kept, [[] for _ in range(size)], [False] * size, np.zeros(size), np.zeros(size))

    def weights(self) -> Float[ndarray, "particles"]:
        """The particles' probabilities; equal where no particle has a weight."""
        top = self.due.max()
        mass = np.exp(self.due - top) if math.isfinite(top) else np.ones(len(self.due))
        return mass / mass.sum()

    def resample(self, rng: np.random.Generator) -> None:
        """Draw anew who lives on, in proportion to the weights; the kept path stays."""
        if not math.isfinite(self.due.max()):
            return
        drawn = rng.choice(len(self.paths), len(self.paths), p=self.weights())
        if self.kept is not None:
            drawn[0] = 0
        self.paths = [list(self.paths[i]) for i in drawn]
        self.ended = [self.ended[i] for i in drawn]
        self.paid = self.paid[drawn] + self.due[drawn]
        self.due = np.zeros(len(drawn))


@dataclass
class ParticleFilter(Chunked):
    """Particles that are extended a step, weighed by their score, and drawn anew in proportion to their weights.

    The answer is the best-scored of the particles that finished, or wins their vote. At the end `meta["weight"]` of a
    leaf is its share of the particles' mass: the estimate of its probability under the target.

    Attributes:
        particles: how many.
        sampling: how steps are drawn; `max_tokens` is for one step.
        temperature: divides the score; the lower, the more the score decides.
        potential: what weighs a particle on its way.
        score: the name of the score that the scorer gives to every step.
        stop: the string that ends a step; "" for steps of `max_tokens` tokens.
        max_steps: rounds, at most.
        vote: where given, the final answer of a response, and the particles take a score-weighted vote on it.
    """

    particles: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    temperature: float = 1.0
    potential: Potential = last
    score: str = "value"
    stop: Stops = "\n"
    max_steps: int = 32
    vote: Extract | None = None
    name = "particle-filter"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        rng = chunk.rng(self.sampling.seed)
        populations = [Population.start(i, self.temperature, self.particles) for i in range(len(chunk.trees))]
        self.sweep(chunk, populations, rng)
        for population in populations:
            _weigh(population, 1.0)
        return [self.choose([path[-1] for path in population.paths if path]) for population in populations]

    def choose(self, ends: Sequence[Node]) -> Node | None:
        """The answer among the particles."""
        return chosen(distinct(ends), self.score, self.vote)

    def sweep(self, chunk: Chunk, populations: Sequence[Population], rng: np.random.Generator) -> None:
        """Run the particles of all populations to their ends together."""
        sampling = stepwise(self.sampling, self.stop)
        for rounds in range(1, self.max_steps + 1):
            self._step(chunk, populations, rounds, sampling)
            chunk.score(self.score, of=_by_tree(chunk, populations))
            for population in populations:
                for i in range(len(population.paths)):
                    population.due[i] = self.log_weight(population, i, rounds) - population.paid[i]
                if not all(population.ended):
                    population.resample(rng)
            if all(all(population.ended) for population in populations):
                break

    def log_weight(self, population: Population, i: int, rounds: int) -> float:
        """The log of the product of a particle's factors; a step without a score cannot be weighed and dies."""
        scores = [node.value(self.score) for node in population.paths[i]]
        known = [score for score in scores if score is not None]
        if len(known) < max(1, len(scores)):
            return -math.inf
        return self.potential(known, population.ended[i], rounds) / population.temperature

    def _step(self, chunk: Chunk, populations: Sequence[Population], rounds: int, sampling: Sampling) -> None:
        """Every particle that can goes on by a step; a kept path is followed and not drawn."""
        live: list[list[tuple[Population, int]]] = [[] for _ in chunk.trees]
        for population in populations:
            if population.kept is not None and rounds <= len(population.kept):
                population.paths[0] = population.kept[:rounds]
                population.ended[0] = rounds == len(population.kept)
            first = 0 if population.kept is None else 1
            live[population.tree] += [
                (population, i) for i in range(first, len(population.paths)) if not population.ended[i]
            ]
        prefixes = [
            [population.paths[i][-1] if population.paths[i] else tree.root for population, i in of]
            for tree, of in zip(chunk.trees, live, strict=True)
        ]
        for of, grown in zip(live, grow(chunk, prefixes, 1, sampling), strict=True):
            for (population, i), new in zip(of, grown, strict=True):
                population.paths[i] += new
                population.ended[i] = not new or not is_open(new[0], sampling)


@dataclass
class ParticleGibbs(ParticleFilter):
    """A particle filter repeated, each time with one particle that retraces a path drawn from the time before.

    What one sweep found is not lost on the next, and with any number of particles more sweeps lead to the target.

    Attributes:
        sweeps: how often the filter runs; each has `particles` - 1 new particles after the first.
    """

    sweeps: int = 4
    name = "particle-gibbs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.particles < 2:
            raise ConfigError(
                f"particle Gibbs keeps one particle and draws the others: 2 at least, found {self.particles}"
            )

    def ladder(self) -> tuple[float, ...]:
        """The temperatures of the chains that run beside each other, the target's first."""
        return (self.temperature,)

    def grow(self, chunk: Chunk) -> list[Node | None]:
        rng, ladder, trees = chunk.rng(self.sampling.seed), self.ladder(), range(len(chunk.trees))
        kept: dict[tuple[int, float], list[Node]] = {}
        ends: list[list[Node]] = [[] for _ in trees]
        for _ in range(self.sweeps):
            populations = [
                Population.start(i, temperature, self.particles, kept.get((i, temperature)))
                for i in trees
                for temperature in ladder
            ]
            self.sweep(chunk, populations, rng)
            for population in populations:
                ends[population.tree] += [path[-1] for path in population.paths if path]
                drawn = population.paths[rng.choice(self.particles, p=population.weights())]
                if drawn:
                    kept[population.tree, population.temperature] = drawn
                if population.temperature == ladder[0]:
                    _weigh(population, 1 / self.sweeps)
            for i in trees:
                self._swap(kept, i, ladder, rng)
        return [self.choose(tree) for tree in ends]

    def _swap(
        self,
        kept: dict[tuple[int, float], list[Node]],
        tree: int,
        ladder: Sequence[float],
        rng: np.random.Generator,
    ) -> None:
        """Let neighbours on the ladder exchange their kept paths by the Metropolis rule."""
        for cold, hot in reversed([*pairwise(ladder)]):
            mine, theirs = kept.get((tree, cold)), kept.get((tree, hot))
            if mine is None or theirs is None:
                continue
            gain = self._energy(theirs) - self._energy(mine)
            if math.log(1 - rng.random()) < (1 / cold - 1 / hot) * gain:
                kept[tree, cold], kept[tree, hot] = theirs, mine

    def _energy(self, path: list[Node]) -> float:
        scores = [score for node in path if (score := node.value(self.score)) is not None]
        return self.potential(scores, True, len(scores)) if scores else -math.inf


@dataclass
class ParallelTempering(ParticleGibbs):
    """Particle Gibbs at several temperatures beside each other; neighbours exchange their kept paths.

    The hot chains wander and find, the cold chain samples the target.

    Attributes:
        hotter: the other chains' temperatures, as multiples of `temperature`, rising.
    """

    hotter: tuple[float, ...] = (2.0, 4.0)
    name = "parallel-tempering"

    def ladder(self) -> tuple[float, ...]:
        return (self.temperature, *(self.temperature * factor for factor in self.hotter))


def _by_tree(chunk: Chunk, populations: Sequence[Population]) -> list[list[Node]]:
    """The newest steps of each tree's particles."""
    newest: list[list[Node]] = [[] for _ in chunk.trees]
    for population in populations:
        newest[population.tree] += [path[-1] for path in population.paths if path]
    return newest


def _weigh(population: Population, share: float) -> None:
    """Add the particles' probabilities to the weights of their ends."""
    for path, weight in zip(population.paths, population.weights().tolist(), strict=True):
        if path:
            path[-1].meta["weight"] = path[-1].meta.get("weight", 0.0) + share * weight
