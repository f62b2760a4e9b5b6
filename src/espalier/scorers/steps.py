"""From the scores of steps to the score of a response: one argument says how, whoever scored the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from espalier.errors import ConfigError
from espalier.scorers.base import Scorer
from espalier.trees import Forest, Ledger, Node, Score

How = Literal["min", "product", "last", "mean", "sum"]

_COMBINE: dict[How, Callable[[Sequence[float]], float]] = {
    "min": min,
    "product": math.prod,
    "last": lambda scores: scores[-1],
    "mean": lambda scores: math.fsum(scores) / len(scores),
    "sum": math.fsum,
}


def combine(scores: Sequence[float], how: How) -> float:
    """One number for a chain of steps, the first step first.

    "min": as good as its worst step, and "product": the chance that all are right, if each is a chance (Lightman et al.
    2023, arXiv 2305.20050, appendix F). "last": what an outcome-supervised value model means (Yu et al. 2023, arXiv
    2311.09724). "sum": of advantages, or of implicit process rewards, which add up to the response's reward.

    >>> [combine([0.9, 0.5, 0.8], how) for how in ("min", "last", "sum")]
    [0.5, 0.8, 2.2]

    Raises:
        ValueError: no step.
    """
    if not scores:
        raise ValueError("no step has a score, so there is nothing to combine")
    return _COMBINE[how](scores)


class Steps:
    """A scorer whose score of a node combines the step scores on the way to it, from the prompt on.

    Every node that the inner scorer judged gets one: the end of a response has the response's, a node on the way that
    of the part which is written, so a search can steer by it. Where a step's score is missing, so is this one. Segments
    that the inner scorer leaves out (a tool's answer) are passed over.

    Args:
        scorer: scores steps: a process model (`ValueScorer`), `ImplicitProcess`, a step checker.
        how: see `combine`.
        name: of the new score; the inner one's and how by default, as in "value-min".

    Raises:
        ConfigError: there is no such way to combine.
    """

    def __init__(self, scorer: Scorer, how: How = "min", name: str | None = None) -> None:
        if how not in get_args(How):
            raise ConfigError(f"steps are combined by {', '.join(get_args(How))}; found {how!r}")
        self.scorer, self.how = scorer, how
        self.name = name or f"{scorer.name}-{how}"
        self.spent: Ledger = scorer.spent

    def score(self, forest: Forest) -> Forest:
        scored = self.scorer.score(forest)
        for tree in scored:
            for node in tree.walk():
                if self.scorer.name in node.scores and self.name not in node.scores:
                    node.scores[self.name] = self._combined(node)
        self.spent = self.scorer.spent
        return scored

    def _combined(self, node: Node) -> Score:
        steps = [step.scores[self.scorer.name] for step in node.path() if self.scorer.name in step.scores]
        known = [step.value for step in steps if step.value is not None]
        missing = [step.missing for step in steps if step.value is None]
        return Score.absent(f"a step has no score: {missing[0]}") if missing else Score(combine(known, self.how))
