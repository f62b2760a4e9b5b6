"""Monte-Carlo tree search over steps: PUCT selection, leaves judged by a value, by a rollout, or by both.

A node's children are candidate steps drawn from the policy. Selection goes down by

    Q(child) + exploration * prior(child) * sqrt(visits of the parent) / (1 + visits of the child)

(Silver et al. 2017; AlphaMath, Chen et al. 2024, arXiv 2405.03553, equation 4), where Q is the mean of what came back.
A leaf is worth (1 - rollout_share) * value + rollout_share * score of a rollout's end, as in AlphaGo; AlphaMath at
inference has a share of 0. With `blend` estimates and real outcomes are kept apart, and a node's Q goes over from the
one to the other as outcomes arrive (the hybrid reward of I-MCTS, Liang et al. 2025, arXiv 2502.14693). With `rollouts`
estimates also say which of the new steps are worth an outcome, where outcomes are dear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.search.aggregate import Extract, chosen
from espalier.search.beam import highest
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, distinct, grow, is_open, roll, stepwise
from espalier.trees import Node, Score, Tree

Blend = Callable[[int], float]
"""From the number of real outcomes seen below a node to the weight of estimates in its Q."""


def fading(outcomes: int) -> float:
    """Estimates weigh as one outcome: 1 before the first, then 1/2, 1/3, ...

    >>> [fading(n) for n in (0, 1, 3)]
    [1.0, 0.5, 0.25]
    """
    return 1 / (1 + outcomes)


@dataclass(slots=True, eq=False)
class Stats:
    """What came back through a node.

    Attributes:
        prior: how likely the policy finds it among its siblings.
        visits: evaluations of it or of what is below it.
        total: their sum.
        estimates, estimated: how many of the scorer's values of unfinished steps are in it, and their sum.
        outcomes, real: how many scores of finished responses, and their sum.
        children: once expanded.
    """

    prior: float = 1.0
    visits: int = 0
    total: float = 0.0
    estimates: int = 0
    estimated: float = 0.0
    outcomes: int = 0
    real: float = 0.0
    children: list[Node] = field(default_factory=list)

    def q(self, blend: Blend | None) -> float | None:
        """The mean of what came back, None before anything did."""
        if blend is None or not (self.estimates and self.outcomes):
            return self.total / self.visits if self.visits else None
        weight = blend(self.outcomes)
        return weight * self.estimated / self.estimates + (1 - weight) * self.real / self.outcomes


@dataclass
class MCTS(Chunked):
    """`simulations` descents of each tree; the answer is the best-scored finished leaf, or wins the weighted vote.

    At the end the scores "visits" and "q" are on every node that was reached.

    Attributes:
        simulations: descents; each expands one node.
        expand: candidate steps drawn at an expansion; all of them are judged.
        sampling: how they are drawn; `max_tokens` is for one step.
        exploration: of PUCT; in units of the score.
        rollout_share: 0 judges a step by the scorer's value, 1 by the score of the end that one rollout comes to.
        rollouts: how many of an expansion's new steps are rolled out, those with the highest values; the first drawn
            where values do not count (a share of 1 and no blend). None: all of them.
        blend: keep estimates and outcomes apart; needs rollouts or finished leaves to have outcomes.
        score: the name of the score that the scorer gives to steps and ends.
        stop: the string that ends a step; "" for steps of `max_tokens` tokens.
        max_steps: of a rollout, at most.
        vote: where given, the final answer of a response, and the finished leaves take a score-weighted vote on it.
    """

    simulations: int = 16
    expand: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    exploration: float = 1.0
    rollout_share: float = 0.0
    rollouts: int | None = None
    blend: Blend | None = None
    score: str = "value"
    stop: Stops = "\n"
    max_steps: int = 32
    vote: Extract | None = None
    name = "mcts"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rollout_share <= 1:
            raise ConfigError(f"rollout_share must be between 0 and 1, found {self.rollout_share}")
        if self.rollouts is not None and self.rollouts < 1:
            raise ConfigError(
                f"MCTS: rollouts must be at least 1, or None for all new steps, found {self.rollouts}; "
                "a rollout_share of 0 does without"
            )

    def grow(self, chunk: Chunk) -> list[Node | None]:
        sampling = stepwise(self.sampling, self.stop)
        stats = [{tree.root: Stats()} for tree in chunk.trees]
        for _ in range(self.simulations):
            picked = [self._select(tree, of) for tree, of in zip(chunk.trees, stats, strict=True)]
            waiting = [[node] if is_open(node, sampling) else [] for node in picked]
            grow(chunk, waiting, self.expand, sampling)
            new = [distinct(child for node in tree for child in node.children) for tree in waiting]
            reached = self._roll_out(chunk, new, sampling)
            if any(new):
                chunk.score(self.score, of=[[*ends.values()] for ends in reached])
            for node, children, ends, of in zip(picked, new, reached, stats, strict=True):
                if not children:
                    self._revisit(node, of)
                    continue
                of[node].children = children
                for child, prior in zip(children, priors(children), strict=True):
                    of[child] = Stats(prior)
                for child in children:
                    if child in ends or self._estimates:
                        self._judge(child, ends.get(child, child), of, sampling)
            if not any(new) and all(chunk.cut):
                break
        for tree, of in zip(chunk.trees, stats, strict=True):
            self._write(tree, of)
        return [chosen(tree.leaves(), self.score, self.vote) for tree in chunk.trees]

    def _select(self, tree: Tree, stats: dict[Node, Stats]) -> Node:
        node = tree.root
        while stats[node].children:
            above, unknown = stats[node], stats[node].q(self.blend) or 0.0

            def bound(child: Node, above: Stats = above, unknown: float = unknown) -> float:
                of = stats[child]
                q = of.q(self.blend)
                push = self.exploration * of.prior * math.sqrt(above.visits) / (1 + of.visits)
                return (unknown if q is None else q) + push

            node = max(above.children, key=bound)
        return node

    @property
    def _estimates(self) -> bool:
        """Whether the scorer's values of unfinished steps count."""
        return self.blend is not None or self.rollout_share < 1

    def _roll_out(self, chunk: Chunk, new: list[list[Node]], sampling: Sampling) -> list[dict[Node, Node]]:
        """The new steps that are rolled out, and where each comes to; with a share of 0 all, and they stay."""
        steps, tried = self.max_steps if self.rollout_share else 0, new
        if self.rollouts is not None and steps and any(new):
            tried = [tree[: self.rollouts] for tree in new]
            if self._estimates:
                chunk.score(self.score, of=new)
                values = [{node: node.value(self.score) for node in tree} for tree in new]
                tried = [highest(tree, of, self.rollouts) for tree, of in zip(new, values, strict=True)]
        ends = roll(chunk, tried, steps, sampling)
        return [dict(zip(*tree, strict=True)) for tree in zip(tried, ends, strict=True)]

    def _judge(self, child: Node, end: Node, stats: dict[Node, Stats], sampling: Sampling) -> None:
        """Back up what a new step is worth."""
        value, outcome = child.value(self.score), end.value(self.score)
        finished = not is_open(end, sampling)
        estimate = None if child is end and finished else value
        if estimate is not None and outcome is not None and end is not child:
            worth: float | None = (1 - self.rollout_share) * estimate + self.rollout_share * outcome
        else:
            worth = outcome if estimate is None else estimate
        for node in child.path():
            if worth is not None:
                stats[node].visits += 1
                stats[node].total += worth
            if estimate is not None:
                stats[node].estimates += 1
                stats[node].estimated += estimate
            if outcome is not None and finished:
                stats[node].outcomes += 1
                stats[node].real += outcome

    def _revisit(self, node: Node, stats: dict[Node, Stats]) -> None:
        """An end was reached again (or a step that cannot go on): its score comes back once more."""
        value = node.value(self.score)
        for above in node.path():
            stats[above].visits += 1
            stats[above].total += 0.0 if value is None else value
            if value is not None:
                stats[above].outcomes += 1
                stats[above].real += value

    def _write(self, tree: Tree, stats: dict[Node, Stats]) -> None:
        for node in tree.walk():
            if (of := stats.get(node)) is not None and (q := of.q(self.blend)) is not None:
                node.scores["visits"], node.scores["q"] = Score(float(of.visits)), Score(q)


def priors(siblings: Sequence[Node]) -> list[float]:
    """How likely the policy finds each of some siblings: exp of the mean log-prob of its tokens, adding up to 1.

    Equal where a step has no log-probs.
    """
    if any(not node.logprobs for node in siblings):
        return [1 / len(siblings)] * len(siblings)
    likely = [math.exp(math.fsum(node.logprobs or ()) / len(node.logprobs or ())) for node in siblings]
    return [each / math.fsum(likely) for each in likely]
