"""What an audit of a scorer reads from a forest: for each response the score, the label, the length and its problem."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from espalier.audit.accuracy import ends
from espalier.errors import AuditError
from espalier.trees import Forest, Node


@dataclass(frozen=True, slots=True)
class Judged:
    """Responses that have both a score and a label.

    Attributes:
        scores: what the scorer said.
        labels: what is true, yes or no.
        lengths: characters of the response.
        problems: the number of its problem; trees with the same prompt are one problem.
        missing: how many responses were left out, by reason.
    """

    scores: Float[ndarray, "items"]
    labels: Bool[ndarray, "items"]
    lengths: Float[ndarray, "items"]
    problems: Int[ndarray, "items"]
    missing: dict[str, int]


def judged(forest: Forest, score: str, label: str = "correct") -> Judged:
    """The responses of a forest that have both scores.

    Raises:
        AuditError: a label is neither 0 nor 1, or no response has both.
    """
    rows: list[tuple[float, float, int, int]] = []
    missing: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    for tree in forest:
        problem = numbers.setdefault(tree.prompt, len(numbers))
        for leaf in ends(tree):
            value, truth = leaf.value(score), leaf.value(label)
            if value is None or truth is None:
                missing[_why(leaf, score if value is None else label)] += 1
            elif truth not in (0, 1):
                raise AuditError(f"the label {label!r} must be 0 or 1, found {truth} in tree {tree.id!r}")
            else:
                rows.append((value, truth, len(leaf.response()), problem))
    if not rows:
        raise AuditError(f"no response has both the score {score!r} and the label {label!r}: {dict(missing)}")
    scores, labels, lengths, problems = np.array(rows, dtype=float).T
    return Judged(scores, labels == 1, lengths, problems.astype(int), dict(missing))


def _why(leaf: Node, name: str) -> str:
    given = leaf.scores.get(name)
    return f"no score {name!r}" if given is None else f"{name}: {given.missing}"
