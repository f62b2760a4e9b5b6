"""What rows share: the keys and values of a common beginning lie once for all rows of a group.

A step reads them once for the group (Hydragen, Juravsky et al. 2024; cascade inference, Ye et al. 2024), and since
decoding is bound by memory traffic that is where the time goes. Rows that enter later join a group that is there; its
place is free when the last of its rows has left. Beginnings are padded to the longest, groups to the largest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from espalier.engines.store import HIDDEN, Plane, Store, as_laid
from espalier.engines.trie import Edge, Ids

_NONE = -1


class Groups:
    """A row is named by its seat. `begin` each step.

    Attributes:
        longest: how many tokens the rows of a group share, at most; 0 where there is no group.

    Args:
        store: holds what is shared.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._places: dict[int, int] = {}  # of each group, by the slot of the last token that its rows share
        self._lengths = np.zeros(0, dtype=np.int64)  # of each place what is shared; 0 where it is free
        self._of = np.zeros(0, dtype=np.int64)  # the group of each seat, by its place
        self._common: dict[Plane, Tensor] = {}  # each "places heads longest width"
        self._masks: dict[int, Tensor] = {}
        self._seated = False  # whether the fields of `begin` are those of these groups

    def __contains__(self, edge: Edge) -> bool:
        """Whether there is a group that shares the text up to the end of this edge."""
        return int(edge.slots[-1]) in self._places

    @property
    def longest(self) -> int:
        return int(self._lengths.max(initial=0))

    def enter(self, seats: NDArray[np.int64], paths: Sequence[Ids]) -> None:
        """Rows take these seats; of each the slots of what it shares, none where it shares nothing."""
        self._of = _grown(self._of, int(seats.max()) + 1, _NONE)
        new = {int(path[-1]): path for path in paths if len(path) and int(path[-1]) not in self._places}
        if new:
            free = np.setdiff1d(np.arange(len(self._places) + len(new)), list(self._places.values()))[: len(new)]
            self._places.update(zip(new, free.tolist(), strict=True))
            self._copy(free, list(new.values()))
        self._of[seats] = [self._places[int(path[-1])] if len(path) else _NONE for path in paths]
        self._seated = False

    def leave(self, seats: NDArray[np.int64]) -> None:
        """Nobody sits here any more."""
        self._of[seats] = _NONE
        left = np.setdiff1d(self._of, _NONE)
        self._places = {name: place for name, place in self._places.items() if place in left}
        self._lengths[np.setdiff1d(np.arange(len(self._lengths)), left)] = 0
        self._seated = False
        if len(self._lengths) >= 2 * len(left):
            self._close_up(left)

    def move(self, of: NDArray[np.int64], to: NDArray[np.int64]) -> None:
        """Rows change from these seats to those."""
        self._of[to], self._of[of] = self._of[of], _NONE
        self._seated = False

    def begin(self, span: int) -> None:
        """Seat the groups for a step: each row gets a chair in [groups, largest]. `span` seats are in use."""
        if self._seated or not self.longest:
            return
        self._seated, self._count, of = True, len(self._lengths), self._of[:span]
        seats = np.flatnonzero(of != _NONE)
        group = of[seats]
        sizes = np.bincount(group, minlength=self._count)
        largest = sizes.max()
        order = np.argsort(group, kind="stable")
        chairs, members = np.zeros(span, dtype=np.int64), np.zeros(self._count * largest, dtype=np.int64)
        _, rank = within(sizes)
        chairs[seats[order]] = group[order] * largest + rank
        members[chairs[seats]] = seats  # seat 0 where nobody sits
        self._in_order = len(members) == span and bool((members == np.arange(span)).all())
        self._chairs, self._members = self._tensor(chairs), self._tensor(members)
        self._alone = None if len(seats) == span else self._tensor(of == _NONE)[:, None, None, None]
        self._masks.clear()

    def scores(
        self, layer: int, query: Float[Tensor, "seats kv_heads per_kv width"], scale: float
    ) -> Float[Tensor, "seats kv_heads per_kv longest"]:
        """Attention scores to what each row shares, -inf where it shares less."""
        if (heads := query.shape[1]) not in self._masks:
            self._masks[heads] = mask(self._lengths[: self._count], self.longest, query)
        keys = self._shared(Plane("key", layer)).transpose(1, 2)
        common = torch.baddbmm(self._masks[heads], self._together(query), keys, alpha=scale)
        return self._apart(common, query, float("-inf"))

    def mix(
        self, layer: int, weights: Float[Tensor, "seats kv_heads per_kv longest"]
    ) -> Float[Tensor, "seats kv_heads per_kv width"]:
        """The values of what each row shares, added up with these weights."""
        return self._apart(torch.bmm(self._together(weights), self._shared(Plane("value", layer))), weights, 0.0)

    def _shared(self, plane: Plane) -> Float[Tensor, "groups*kv_heads longest width"]:
        return self._common[plane][: self._count].flatten(0, 1)[:, : self.longest]

    def _together(
        self, x: Float[Tensor, "seats kv_heads per_kv n"]
    ) -> Float[Tensor, "groups*kv_heads largest*per_kv n"]:
        """Rows side by side with the others of their group, so that one product serves them all."""
        seated = x if self._in_order else x.index_select(0, self._members)
        return seated.unflatten(0, (self._count, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def _apart(
        self,
        x: Float[Tensor, "groups*kv_heads largest*per_kv n"],
        like: Float[Tensor, "seats kv_heads per_kv _"],
        alone: float,
    ) -> Float[Tensor, "seats kv_heads per_kv n"]:
        """Each row in its seat again, with `alone` for those without a group."""
        _, kv_heads, per_kv, _ = like.shape
        rows = x.view(self._count, kv_heads, -1, per_kv, x.shape[-1]).transpose(1, 2).flatten(0, 1)
        rows = rows if self._in_order else rows.index_select(0, self._chairs)
        return rows if self._alone is None else rows.masked_fill_(self._alone, alone)

    def _copy(self, places: NDArray[np.int64], paths: Sequence[Ids]) -> None:
        """Copy what new groups share from the store."""
        lengths = np.asarray([len(path) for path in paths])
        self._lengths = _grown(self._lengths, int(places.max()) + 1, 0)
        self._lengths[places] = lengths
        index = np.empty((len(paths), int(lengths.max())), dtype=np.int64)
        for row, path in zip(index, paths, strict=True):
            row[:] = path[0]  # any that is written: weight 0 does not silence a NaN
            row[: len(path)] = path
        held, at = self._tensor(index), self._tensor(places)
        for plane in self.store.planes:
            if plane == HIDDEN:
                continue
            old = self._common.get(plane)
            if old is None or len(old) < len(self._lengths) or old.shape[2] < self.longest:
                self._common[plane] = self.store.empty(plane, len(self._lengths), self.longest)
                if old is not None:
                    kept = min(old.shape[2], self.longest)
                    self._common[plane][: len(old), :, :kept] = old[:, :, :kept]
            self._common[plane][at, :, : index.shape[1]] = self.store.read(plane, held).transpose(1, 2)

    def _close_up(self, left: NDArray[np.int64]) -> None:
        """Only the groups of these places are left; let them be the first."""
        renumbered = np.full(len(self._lengths) + 1, _NONE)  # the last is for seats of none
        renumbered[left] = np.arange(len(left))
        self._of, self._lengths = renumbered[self._of], self._lengths[left]
        self._places = {name: int(renumbered[place]) for name, place in self._places.items()}
        index = self._tensor(left)
        for plane, states in self._common.items():
            self._common[plane] = as_laid(plane, as_laid(plane, states).index_select(0, index))

    def _tensor(self, x: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(x).to(self.store.device)


def mask(
    lengths: NDArray[np.int64], size: int, like: Float[Tensor, "_ heads _ _"]
) -> Float[Tensor, "lengths*heads 1 size"]:
    """0 for the first `lengths[i]` of `size` keys and -inf for the others, for each head."""
    seen = torch.from_numpy(np.arange(size) < lengths[:, None]).to(like.device)
    return like.new_zeros(seen.shape).masked_fill_(~seen, float("-inf")).repeat_interleave(like.shape[1], 0)[:, None]


def within(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For all tokens of rows of these lengths, one row after the other: their row, and their place in it."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _grown(x: NDArray[np.int64], size: int, fill: int) -> NDArray[np.int64]:
    return np.concatenate((x, np.full(max(0, size - len(x)), fill)))
