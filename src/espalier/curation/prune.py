"""Pruning by score. Each function returns new trees with fewer branches, or fewer trees; the originals stay.

A leaf whose score is missing is never kept for its score and never dropped as if it were 0: it is simply not compared.
"""

from __future__ import annotations

from collections.abc import Callable

from espalier.curation.take import only
from espalier.trees import Forest, Node, Tree


def keep_above(forest: Forest, by: str, threshold: float) -> Forest:
    """Only the responses that score above `threshold`, and only the trees that have one.

    Rejection sampling, as in STaR (Zelikman et al. 2022) and RAFT (Dong et al. 2023).

    >>> tree = Tree(Node("1+1=", "prompt"))
    >>> from espalier.trees import Score
    >>> for text, score in (("2", 1.0), ("3", 0.0)):
    ...     _ = tree.root.add(Node(text, scores={"correct": Score(score)}))
    >>> [leaf.text for leaf in keep_above(Forest([tree]), "correct", 0.5)[0].leaves()]
    ['2']
    """
    return _pruned(forest, lambda tree: [leaf for leaf, value in _scored(tree, by) if value > threshold])


def best_and_worst(forest: Forest, by: str, margin: float = 0.0) -> Forest:
    """For each tree its best and its worst response (the first of equals), where they differ by more than `margin`."""

    def ends(tree: Tree) -> list[Node]:
        scored = _scored(tree, by)
        if not scored:
            return []
        best = max(scored, key=lambda item: item[1])
        worst = min(scored, key=lambda item: item[1])
        return [best[0], worst[0]] if best[1] - worst[1] > margin else []

    return _pruned(forest, ends)


def informative(forest: Forest, by: str) -> Forest:
    """Only the trees whose responses do not all score the same: the others carry no advantage within their group.

    The dynamic sampling filter of DAPO (Yu et al. 2025, section 3.2).
    """
    return forest.filter(lambda tree: len({value for _, value in _scored(tree, by)}) > 1)


def _scored(tree: Tree, by: str) -> list[tuple[Node, float]]:
    return [(leaf, value) for leaf in tree.leaves() if (value := leaf.value(by)) is not None]


def _pruned(forest: Forest, choose: Callable[[Tree], list[Node]]) -> Forest:
    return Forest([only(tree, leaves) for tree in forest if (leaves := choose(tree))])
