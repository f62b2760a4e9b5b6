"""Many trees, in memory or read lazily from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from espalier.trees.node import Node, Tree


class Forest(Sequence[Tree]):
    """A sequence of trees.

    `trees` may be any sequence: a list in memory, or a stored one that reads a tree when it is asked for (see
    `espalier.trees.parquet`). Changing a tree of a stored forest does not change the file; call `load()` first and
    write the result.

    >>> forest = Forest([Tree(Node("1+1=", "prompt"))])
    >>> len(forest), forest[0].prompt
    (1, '1+1=')
    """

    def __init__(self, trees: Iterable[Tree] = ()) -> None:
        self.trees: Sequence[Tree] = trees if isinstance(trees, Sequence) else list(trees)

    def __len__(self) -> int:
        return len(self.trees)

    def __iter__(self) -> Iterator[Tree]:
        return iter(self.trees)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Forest: ...
    def __getitem__(self, index: int | slice) -> Tree | Forest:
        if isinstance(index, slice):
            return Forest([self.trees[i] for i in range(*index.indices(len(self.trees)))])
        return self.trees[index]

    def __repr__(self) -> str:
        return f"Forest({len(self)} trees)"

    def nodes(self) -> Iterator[Node]:
        return (node for tree in self for node in tree.walk())

    def leaves(self) -> Iterator[Node]:
        return (leaf for tree in self for leaf in tree.leaves())

    def load(self) -> Forest:
        """The same forest with every tree in memory."""
        return Forest(list(self.trees))

    def filter(self, keep: Callable[[Tree], bool]) -> Forest:
        return Forest([tree for tree in self if keep(tree)])

    def prompts(self) -> Forest:
        """The bare problems: each tree's root without its branches."""
        return Forest([tree.copy(keep=lambda node: False) for tree in self])

    def split(self, fraction: float, seed: int = 0) -> tuple[Forest, Forest]:
        """Two forests, the second with about `fraction` of the distinct prompts; no prompt is in both."""
        prompts = sorted({tree.prompt for tree in self})
        order = np.random.default_rng(seed).permutation(len(prompts))
        held = {prompts[i] for i in order[: round(fraction * len(prompts))]}
        return self.filter(lambda tree: tree.prompt not in held), self.filter(lambda tree: tree.prompt in held)

    def merge(self) -> Forest:
        """One tree for each distinct prompt, with the branches of all its trees. The first tree's id and meta stay."""
        merged: dict[str, Tree] = {}
        for tree in self:
            first = merged.get(tree.prompt)
            if first is None:
                merged[tree.prompt] = tree.copy()
            else:
                for child in tree.copy().root.children.copy():
                    first.root.add(child.detach())
        return Forest(list(merged.values()))
