"""Does a process model find the first error? Zheng et al. 2024, "ProcessBench" (arXiv 2412.06559).

A model finds its first error where a step's score is at or below a threshold for the first time. It is right about a
response with an error if that is the very step, and about one without if it finds none; F1 is the harmonic mean of the
two shares, so that calling everything wrong, or everything right, is worth nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from espalier.audit.intervals import LEVEL, Interval, bootstrap, proportion
from espalier.errors import AuditError
from espalier.trees import Forest, Node, first_error


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """How well first errors are found.

    Attributes:
        wrong: of the responses with an error, in how many it was found at its step.
        right: of those without, in how many none was found.
        f1: their harmonic mean.
    """

    wrong: Interval
    right: Interval
    f1: Interval

    def __str__(self) -> str:
        return f"F1 {self.f1}; with an error {self.wrong}, without {self.right}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def first_errors(
    forest: Forest, by: str, truth: str = "step", *, at: float = 0.5, truth_at: float = 0.5, level: float = LEVEL
) -> FirstErrors:
    """Hold the step scores `by` against the true step labels `truth`, response by response.

    Args:
        forest: with one node a step; both scores on every step. A response in which one is missing is left out and
            counted.
        at: the highest score that means "wrong"; see `best_threshold`.
        truth_at: the same of the true labels.
        level: of the intervals, which rest on problems.

    Raises:
        AuditError: no response with an error, or none without one.
    """
    chains, problems, missing = _chains(forest, by, truth)
    flawed, hit = _judged(chains, by, truth, at, truth_at)
    _check_both_kinds(flawed, truth, missing)
    return FirstErrors(
        proportion(hit[flawed], problems[flawed], level=level, missing=missing),
        proportion(hit[~flawed], problems[~flawed], level=level, missing=missing),
        bootstrap(lambda weights: _f1(weights, flawed, hit), problems, level=level, missing=missing),
    )


def f1_gain(
    forest: Forest,
    a: str,
    b: str,
    truth: str = "step",
    *,
    at: tuple[float, float] = (0.5, 0.5),
    truth_at: float = 0.5,
    level: float = LEVEL,
) -> Interval:
    """How much higher the F1 of the scores `b` is than that of `a`, on the responses that have both.

    Args:
        at: the thresholds of `a` and `b`.

    Raises:
        AuditError: as `first_errors`.
    """
    chains, problems, missing = _chains(forest, a, b, truth)
    flawed, by_a = _judged(chains, a, truth, at[0], truth_at)
    _, by_b = _judged(chains, b, truth, at[1], truth_at)
    _check_both_kinds(flawed, truth, missing)
    return bootstrap(
        lambda weights: _f1(weights, flawed, by_b) - _f1(weights, flawed, by_a), problems, level=level, missing=missing
    )


def best_threshold(forest: Forest, by: str, truth: str = "step", *, truth_at: float = 0.5, tries: int = 50) -> float:
    """The threshold with the best F1 on these responses, among quantiles of the scores; use it on *other* responses."""
    chains, _, _ = _chains(forest, by, truth)
    scores = [node.value(by) for chain in chains for node in chain]
    if not scores:
        raise AuditError(f"no response has the scores {by!r} and {truth!r} on all of its steps")
    candidates = np.unique(np.quantile(np.array(scores, dtype=float), np.linspace(0, 1, tries)))
    one = np.ones((1, len(chains)))
    return float(max(candidates, key=lambda at: _f1(one, *_judged(chains, by, truth, at, truth_at))[0]))


def _chains(forest: Forest, *names: str) -> tuple[list[list[Node]], Int[ndarray, "responses"], int]:
    """The steps of each response that has all scores, its problem's number, and how many responses have not."""
    chains, problems, missing = list[list[Node]](), list[int](), 0
    for number, tree in enumerate(forest):
        for leaf in tree.leaves():
            steps = [node for node in leaf.path()[1:] if node.author in ("policy", "human")]
            if any(node.value(name) is None for node in steps for name in names):
                missing += 1
            else:
                chains.append(steps)
                problems.append(number)
    return chains, np.array(problems), missing


def _judged(
    chains: list[list[Node]], by: str, truth: str, at: float, truth_at: float
) -> tuple[Bool[ndarray, "responses"], Bool[ndarray, "responses"]]:
    """Whether each response has an error, and whether what `by` finds is what is there."""
    true = [first_error(chain, truth, truth_at) for chain in chains]
    hit = [first_error(chain, by, at) is node for chain, node in zip(chains, true, strict=True)]
    return np.array([node is not None for node in true], dtype=bool), np.array(hit, dtype=bool)


def _check_both_kinds(flawed: Bool[ndarray, "responses"], truth: str, missing: int) -> None:
    if flawed.all() or not flawed.any():
        raise AuditError(
            f"{flawed.sum()} of {len(flawed)} responses have an error by {truth!r} ({missing} more without scores); "
            "finding first errors needs responses of both kinds"
        )


def _f1(
    weights: Float[ndarray, "resamples responses"], flawed: Bool[ndarray, "responses"], hit: Bool[ndarray, "responses"]
) -> Float[ndarray, "resamples"]:
    with np.errstate(invalid="ignore", divide="ignore"):
        wrong, right = ((weights @ (hit & side)) / (weights @ side) for side in (flawed, ~flawed))
        return np.where(wrong + right == 0, 0.0, 2 * wrong * right / (wrong + right))
