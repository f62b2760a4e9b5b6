"""Keys, values and last hidden states of texts, held between calls within a budget of memory.

A held token has a slot, and each *plane* (the keys of a layer, its values, the last hidden states) has a row for each
slot. Which text has which slots is the trie's business. Since the hidden state is held too, a text that is held whole
needs no forward pass: what comes next is read off its last token.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from espalier.engines.trie import Edge, Ids, Trie

_FIRST = 1024  # slots at first


class Plane(NamedTuple):
    """What a row of a plane is: "key" or "value" of a layer, or "hidden"."""

    kind: str
    layer: int = 0


HIDDEN = Plane("hidden")


def as_laid(plane: Plane, states: Tensor) -> Tensor:
    """What `Store.empty` made, in the order in which it lies in memory; of that, what it made."""
    return states.transpose(2, 3) if plane.kind == "key" else states


class Store:
    """The held states of one model's weights.

    Attributes:
        trie: which tokens are held.
        planes: each "slots ...".
    """

    def __init__(self, budget: int, device: torch.device) -> None:
        """`budget` is in bytes; what a running call needs is held even where it is more."""
        self.budget, self.device = budget, device
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.trie, self.planes = Trie(), dict[Plane, Tensor]()
        self._free, self._slots = np.zeros(0, dtype=np.int64), 0

    @property
    def held(self) -> int:
        """How many tokens are held."""
        return self._slots - len(self._free)

    @property
    def limit(self) -> int:
        """How many tokens the budget allows; unknown, and so unlimited, until the first states are written."""
        each = sum(plane[0].nbytes for plane in self.planes.values())
        return self.budget // each if each else sys.maxsize

    def reserve(self, count: int) -> int:
        """Evict what is used least, so that `count` more tokens fit the budget; returns how many of them do."""
        if (over := self.held + count - self.limit) > 0:
            # More than is needed at once, since each eviction looks at every leaf.
            self._release(self.trie.evict(over + self.limit // 8))
        return max(0, min(count, self.limit - self.held))

    def hold(self, tokens: Sequence[int] | Ids, ready: bool, after: Edge | None = None) -> Edge:
        """Give slots to those tokens of a text that have none; returns the edge that ends where the text ends.

        Args:
            after: the edge at whose end the text begins; the beginning of all texts by default.
        """
        return self.trie.insert(tokens, self._take, ready, after)

    def write(self, plane: Plane, slots: Int[Tensor, "tokens"], states: Float[Tensor, "tokens ..."]) -> None:
        """Put the states of some tokens into their slots."""
        found = self.planes.get(plane)
        if found is None or len(found) < self._slots:
            grown = states.new_empty(self._slots, *states.shape[1:])
            if found is not None:
                grown[: len(found)] = found
            found = self.planes[plane] = grown
        found.index_copy_(0, slots, states)

    def read(self, plane: Plane, slots: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens ..."]:
        """The states in these slots, copied."""
        # Twice as fast as indexing.
        return self.planes[plane].index_select(0, slots.flatten()).unflatten(0, slots.shape)

    def empty(self, plane: Plane, rows: int, room: int) -> Float[Tensor, "rows heads room width"]:
        """Zeros, for so many tokens of each of so many rows side by side; a hidden state has one head.

        Of keys the tokens lie side by side in memory: the many small products with them are three times as fast on a
        CPU. Zeros, because what is masked has weight 0, and 0 * NaN would be NaN.
        """
        states = self.planes[plane]
        heads, width = (1 if plane == HIDDEN else states.shape[1]), states.shape[-1]
        size = (width, room) if plane.kind == "key" else (room, width)
        return as_laid(plane, states.new_zeros(rows, heads, *size))

    def settle(self) -> None:
        """After a call: back within the budget, memory included."""
        self.reserve(0)
        if self._slots <= self.limit:
            return
        if not self.held:
            self.clear()
            return
        kept = np.concatenate([edge.slots for edge in self.trie.edges()])
        place = np.zeros(self._slots, dtype=np.int64)
        place[kept] = np.arange(len(kept))
        for edge in self.trie.edges():
            edge.slots = place[edge.slots]
        index = torch.from_numpy(kept).to(self.device)
        self.planes = {name: plane.index_select(0, index) for name, plane in self.planes.items()}
        self._free, self._slots = np.zeros(0, dtype=np.int64), len(kept)

    def _take(self, count: int) -> Ids:
        if count > len(self._free):
            # Twice what there is, but no more than the budget unless it must be.
            size = max(min(max(2 * self._slots, _FIRST), self.limit), self._slots + count - len(self._free))
            self._free = np.concatenate([self._free, np.arange(self._slots, size)])
            self._slots = size
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def _release(self, slots: Ids) -> None:
        self._free = np.concatenate([self._free, slots])
