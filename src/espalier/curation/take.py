"""Keep the trees that come first by a number, and write the number down: what every method of selection ends with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espalier.errors import ConfigError
from espalier.trees import Forest, Node, Tree


def how_many(keep: float, among: int) -> int:
    """A share below 1, or a number, of that many things; at most all of them.

    >>> how_many(0.5, 7), how_many(3, 7), how_many(30, 7)
    (4, 3, 7)

    Raises:
        ConfigError: not above 0, or a number above 1 that is not whole.
    """
    if keep <= 0 or (keep >= 1 and keep != int(keep)):
        raise ConfigError(f"keep = {keep}: expected a share between 0 and 1, or a whole number of trees")
    return min(among, int(keep) if keep >= 1 else max(1, round(keep * among)))


def take(forest: Sequence[Tree], scores: Sequence[float | None], keep: float, method: str) -> Forest:
    """Copies of the trees of the greatest scores, in their old order, each with its score noted under the method.

    A tree whose score is None could not be judged: it is not kept. Of equal scores the first ones are.

    Args:
        keep: a share of the trees that have a score, or a number of trees.
        method: the key in `tree.meta["curation"]`.
    """
    there = [place for place, score in enumerate(scores) if score is not None]
    if not there:
        return Forest([])
    values = np.array([scores[place] for place in there], float)
    first = np.argsort(-values, kind="stable")[: how_many(keep, len(there))]
    return Forest([noted(forest[there[i]].copy(), method, float(values[i])) for i in sorted(first)])


def noted(tree: Tree, method: str, found: float | str) -> Tree:
    """The tree, with what a method went by written into `meta["curation"]`, beside what other methods wrote."""
    tree.meta["curation"] = {**tree.meta.get("curation", {}), method: found}
    return tree


def only(tree: Tree, leaves: Sequence[Node]) -> Tree:
    """A copy with these responses and no other."""
    kept = {id(node) for leaf in leaves for node in leaf.path()}
    return tree.copy(keep=lambda node: id(node) in kept)
