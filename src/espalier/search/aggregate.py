"""Picking an answer from leaves that were grown already; nothing here samples.

One sampled forest can so be aggregated in every way, and its first k leaves show what fewer samples would have given.
Of the leaves handed in, those that finished are the candidates; only where none did, all are. A leaf whose score is
missing (or was never given) has no say in what goes by score: it is left out and never counts as 0, see `unscored`.

Best-of-n: Cobbe et al. 2021 (arXiv 2110.14168). Majority vote: Wang et al. 2022 (arXiv 2203.11171), "self-consistency".
Weighted vote: Li et al. 2022 (arXiv 2206.02336). Borda vote: Kang et al. 2025 (arXiv 2502.18581).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from espalier.errors import ConfigError
from espalier.scorers.answers import final_number, marked_answer
from espalier.trees import Forest, Node

Extract = Callable[[str], str | None]
"""The final answer of a response, in a form that is equal for equal answers; None where it gives none."""

Choose = Callable[[Sequence[Node]], Node | None]
"""The leaf that is chosen, or None where none can be."""


def final_answer(text: str) -> str | None:
    """The number that a response ends with, written canonically; where it has none, its marked answer as it stands.

    >>> final_answer("A: 1,250.50"), final_answer("#### 2501/2"), final_answer("the answer is no")
    ('2501/2', '2501/2', 'no')
    """
    number = final_number(text)
    return marked_answer(text) if number is None else str(number)


def candidates(leaves: Sequence[Node]) -> list[Node]:
    """The leaves that finished; where none did, all of them.

    >>> done, cut = Node("4", stop="eos"), Node("2+2 is", stop="length")
    >>> [leaf.text for leaf in candidates([cut, done])], [leaf.text for leaf in candidates([cut])]
    (['4'], ['2+2 is'])
    """
    return [leaf for leaf in leaves if leaf.stop not in ("stop", "length")] or list(leaves)


def unscored(leaves: Sequence[Node], score: str) -> int:
    """How many candidates have no value of this score, and are therefore left out of `best` and `weighted`."""
    return sum(leaf.value(score) is None for leaf in candidates(leaves))


def best(leaves: Sequence[Node], score: str) -> Node | None:
    """The leaf with the highest score, the first of equals; None where no candidate has one."""
    values = _values(candidates(leaves), score)
    return max(values, key=values.__getitem__, default=None)


def majority(leaves: Sequence[Node], extract: Extract) -> Node | None:
    """The first leaf with the answer that most leaves give.

    Of answers with equally many votes, the one seen first wins. A leaf without an answer has no vote.

    >>> prompt = Node("1+2=", "prompt")
    >>> leaves = [prompt.add(Node(text, stop="eos")) for text in ("it is 4", "three: 3", "3")]
    >>> majority(leaves, extract=lambda text: text[-1]).text
    'three: 3'
    """
    voters = max(_votes(candidates(leaves), extract).values(), key=len, default=None)
    return None if voters is None else voters[0]


def weighted(leaves: Sequence[Node], extract: Extract, score: str) -> Node | None:
    """The best-scored leaf with the answer whose leaves' scores have the highest sum.

    With equal scores this is `majority`, ties included.

    Raises:
        ConfigError: a score is negative, so that one more vote would count against its answer.
    """
    values = _values(candidates(leaves), score)
    if any(value < 0 for value in values.values()):
        raise ConfigError(
            f"a weighted vote needs scores that are not negative, found {score} = {min(values.values())}; "
            "use a score that is a probability, or best-of-n"
        )
    return _heaviest(values, values, extract)


def borda(leaves: Sequence[Node], extract: Extract, score: str, power: float = 1.0) -> Node | None:
    """The best-scored leaf with the answer that has most votes, where rank r of n leaves gives (n - r + 1)^power.

    Ranks are by score, the best first; of equal scores the one seen first. With power 0 this is `majority`, but for
    which of the winner's leaves is returned.

    >>> from espalier.trees import Score
    >>> prompt = Node("1+2=", "prompt")
    >>> scored = (("4", 0.9), ("3", 0.5), ("3", 0.4))
    >>> leaves = [prompt.add(Node(text, stop="eos", scores={"sure": Score(sure)})) for text, sure in scored]
    >>> [borda(leaves, str, "sure", power).text for power in (1.0, 3.0)]
    ['4', '4']
    >>> borda(leaves, str, "sure", 0.5).text
    '3'
    """
    values = _values(candidates(leaves), score)
    ranked = sorted(values, key=lambda leaf: -values[leaf])
    votes = {leaf: float((len(ranked) - place) ** power) for place, leaf in enumerate(ranked)}
    return _heaviest({leaf: votes[leaf] for leaf in values}, values, extract)


def chosen(leaves: Sequence[Node], score: str, vote: Extract | None) -> Node | None:
    """The answer of a search that went by a score: the best leaf, or the winner of a weighted vote where one is set."""
    return best(leaves, score) if vote is None else weighted(leaves, vote, score)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What the first k leaves of every tree would have given.

    Attributes:
        k: how many leaves.
        answers: for each tree, the leaf chosen among them.
        generated: for each tree, the tokens sampled for them; a segment that leaves share counts once.
    """

    k: int
    answers: list[Node | None]
    generated: list[int]


def prefixes(forest: Forest, choose: Choose, ks: Sequence[int]) -> list[Prefix]:
    """A strategy's answers against the tokens it spends, from one sampled forest.

    Raises:
        ConfigError: a tree has fewer leaves than asked for.
    """
    found = []
    for k in ks:
        firsts = [tree.leaves()[:k] for tree in forest]
        for tree, first in zip(forest, firsts, strict=True):
            if len(first) < k:
                raise ConfigError(f"tree {tree.id!r} has {len(first)} leaves, fewer than k = {k}")
        answers = [choose(first) for first in firsts]
        found.append(Prefix(k, answers, [generated(first) for first in firsts]))
    return found


def generated(leaves: Sequence[Node]) -> int:
    """The tokens on the paths from the prompt to these leaves, each segment once. Segments without tokens count 0."""
    segments = {id(node): node for leaf in leaves for node in leaf.path()[1:]}
    return sum(len(node.token_ids or ()) for node in segments.values())


def _heaviest(weights: dict[Node, float], values: dict[Node, float], extract: Extract) -> Node | None:
    """The best-valued leaf with the answer whose leaves' weights add up highest."""
    votes = _votes(weights, extract)
    winner = max(votes.values(), key=lambda voters: math.fsum(weights[leaf] for leaf in voters), default=[])
    return max(winner, key=values.__getitem__, default=None)


def _values(leaves: Iterable[Node], score: str) -> dict[Node, float]:
    """The leaves that have a value, in order."""
    pairs = ((leaf, leaf.value(score)) for leaf in leaves)
    return {leaf: value for leaf, value in pairs if value is not None}


def _votes(leaves: Iterable[Node], extract: Extract) -> dict[str, list[Node]]:
    """The leaves by their answer, answers and leaves in order of appearance."""
    votes: dict[str, list[Node]] = {}
    for leaf in leaves:
        answer = extract(leaf.response())
        if answer is not None:
            votes.setdefault(answer, []).append(leaf)
    return votes
