"""Mirror-descent decision-time planning (Sokota et al. 2024, "The update-equivalence framework for decision-time
planning", arXiv 2304.13138).

To plan at a state is to make there one update of the learner whose solution is wanted: for mirror descent

    new policy(step) in proportion to policy(step) * exp(rate * Q(step)),

with Q from rollouts of the policy as it is. It is a regularised step, not a maximum, so it stays near the policy, and
needs no beliefs about what is hidden. Candidate steps stand for the policy, as often as they were drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from espalier.engines.base import Sampling
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, distinct, grow, is_open, roll, stepwise
from espalier.trees import Node


@dataclass
class MirrorDescentSearch(Chunked):
    """One response of each prompt, each of its steps drawn from the updated policy; the answer is its end.

    Attributes:
        expand: candidate steps at each state.
        rollouts: rollouts of each candidate, which give its Q.
        rate: of the update, in units of 1 / score; 0 is the policy itself.
        sampling: how steps are drawn; `max_tokens` is for one step.
        score: the name of the score of complete responses.
        stop: the string that ends a step; "" for steps of `max_tokens` tokens.
        max_steps: of a response, at most.
        rollout_steps: of a rollout after a candidate, at most.
    """

    expand: int = 4
    rollouts: int = 2
    rate: float = 1.0
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    stop: Stops = "\n"
    max_steps: int = 32
    rollout_steps: int = 32
    name = "mirror-descent-search"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        rng, sampling = chunk.rng(self.sampling.seed), stepwise(self.sampling, self.stop)
        heads = [tree.root for tree in chunk.trees]
        for _ in range(self.max_steps):
            live = [[head] if is_open(head, sampling) else [] for head in heads]
            drawn = [[node for nodes in of for node in nodes] for of in grow(chunk, live, self.expand, sampling)]
            if not any(drawn):
                break
            steps = [distinct(of) for of in drawn]
            starts = [[step for step in of for _ in range(self.rollouts)] for of in steps]
            ends = roll(chunk, starts, self.rollout_steps, sampling)
            chunk.score(self.score, of=ends)
            for i, of in enumerate(steps):
                if of:
                    returns: dict[Node, list[float]] = {step: [] for step in of}
                    for step, end in zip(starts[i], ends[i], strict=True):
                        if (value := end.value(self.score)) is not None:
                            returns[step].append(value)
                    heads[i] = self._update([(step, drawn[i].count(step), returns[step]) for step in of], rng)
        return [head if head.parent is not None else None for head in heads]

    def _update(self, steps: list[tuple[Node, int, list[float]]], rng: np.random.Generator) -> Node:
        """A step of the updated policy; one of which nothing came back only where nothing came back of any."""
        known = [(step, math.log(draws) + self.rate * fmean(of)) for step, draws, of in steps if of]
        if not known:
            return steps[0][0]
        logits = np.array([logit for _, logit in known])
        mass = np.exp(logits - logits.max())
        return known[rng.choice(len(known), p=mass / mass.sum())][0]
