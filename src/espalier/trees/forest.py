"""Many trees, in memory or read lazily from disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, overload, runtime_checkable

import numpy as np

from espalier.errors import DataError, EspalierError
from espalier.trees.node import Node, Tree


@runtime_checkable
class Stored(Protocol):
    """Trees that are read when they are asked for."""

    def load(self) -> list[Tree]:
        """All of them."""
        ...


class Forest(Sequence[Tree]):
    """A sequence of trees.

    `trees` may be any sequence: a list in memory, or a stored one that reads a tree when it is asked for (see
    `espalier.trees.stored`). Changing a tree of a stored forest does not change the file; call `load()` first and
    write the result.

    >>> forest = Forest([Tree(Node("1+1=", "prompt"))])
    >>> len(forest), forest[0].prompt
    (1, '1+1=')

    Attributes:
        trees: the trees, in order.
        skipped: the rows that `read(..., on_error="skip")` left out, each with its reason; empty for other forests.
    """

    def __init__(self, trees: Iterable[Tree] = (), skipped: Iterable[DataError] = ()) -> None:
        self.trees: Sequence[Tree] = trees if isinstance(trees, Sequence) else list(trees)
        self.skipped = list(skipped)

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
        skipped = f", {len(self.skipped)} rows skipped" if self.skipped else ""
        return f"Forest({len(self)} trees{skipped})"

    def nodes(self) -> Iterator[Node]:
        return (node for tree in self for node in tree.walk())

    def leaves(self) -> Iterator[Node]:
        return (leaf for tree in self for leaf in tree.leaves())

    def load(self) -> Forest:
        """The same forest with every tree in memory."""
        return Forest(self.trees.load() if isinstance(self.trees, Stored) else list(self.trees), self.skipped)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Store the forest as Parquet: one file (`.parquet`) or a new folder; see `espalier.trees.parquet.write`."""
        from espalier.trees.parquet import write

        write(self, path)

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
        """One tree for each distinct prompt, with the branches of all its trees. The first tree's id and meta stay.

        Raises:
            EspalierError: two trees of a prompt hold tokens of different tokenizers.
        """
        merged: dict[str, Tree] = {}
        for tree in self:
            first = merged.get(tree.prompt)
            if first is None:
                merged[tree.prompt] = tree.copy()
                continue
            mine, theirs = (root.meta.get("tokenizer") for root in (first.root, tree.root))
            if mine and theirs and mine != theirs:
                raise EspalierError(f"trees {first.id!r} and {tree.id!r} hold tokens of different tokenizers")
            branches = tree.copy().root
            if theirs and not mine:
                first.root.meta["tokenizer"], first.root.token_ids = theirs, branches.token_ids
            for child in branches.children.copy():
                first.root.add(child.detach())
        return Forest(list(merged.values()))
