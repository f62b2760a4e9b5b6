"""Accuracy: how often the answers are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.audit.intervals import LEVEL, Interval, mean
from espalier.errors import AuditError
from espalier.trees import Forest, Node, Tree

if TYPE_CHECKING:
    from espalier.search.base import Found


def ends(tree: Tree) -> list[Node]:
    """The responses of a tree: its leaves, without those that only pause at a stop string."""
    return [leaf for leaf in tree.leaves() if leaf.stop != "stop"]


def outcomes(source: Forest | Found, by: str = "correct") -> dict[str, float | None]:
    """How right each problem's answer was, by the problem's id.

    What a search chose: the score of the chosen leaf; 0 where it chose none, since no answer is a wrong answer. A
    forest: the mean score of the responses that have one, which is the accuracy expected of a single sample. None where
    the verifier could not tell, or nothing was sampled; that is missing, not wrong.

    Raises:
        AuditError: two problems share an id, or not one answer has this score.
    """
    forest = source if isinstance(source, Forest) else source.forest
    found: dict[str, float | None] = {}
    for i, tree in enumerate(forest):
        if tree.id in found:
            raise AuditError(f"two problems have the id {tree.id!r}; give each tree of the forest its own id")
        if not isinstance(source, Forest):
            answer = source.answers[i]
            found[tree.id] = 0.0 if answer is None else answer.value(by)
        else:
            known = [value for leaf in ends(tree) if (value := leaf.value(by)) is not None]
            found[tree.id] = sum(known) / len(known) if known else None
    if found and all(value is None for value in found.values()):
        raise AuditError(f"no answer has the score {by!r}; score the forest with a verifier of that name first")
    return found


def accuracy(source: Forest | Found, by: str = "correct", *, level: float = LEVEL, seed: int = 0) -> Interval:
    """The share of problems answered right, over all problems whose answer could be judged.

    Raises:
        AuditError: as for `outcomes`, or there is no problem.
    """
    return mean(list(outcomes(source, by).values()), level=level, seed=seed)
