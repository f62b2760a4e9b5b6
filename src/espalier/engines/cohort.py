"""The keys and values of rows that run side by side, and attention over them.

Rows that share a beginning form a group; its keys and values lie once a group, those of the row's own tokens (the rest
of its prefix, and what it drew) once a row. A step reads the shared part once for all rows of the group (Hydragen,
Juravsky et al. 2024; cascade inference, Ye et al. 2024), and since decoding is bound by memory traffic that is where
the time goes. The scores of both parts meet in one softmax, so the result is that of ordinary attention. Keys lie
transposed in memory, their tokens side by side: on a CPU that makes the many small products with them three times as
fast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from espalier.engines.store import HIDDEN, Plane, Store
from espalier.engines.trie import Ids

_ROOM = 32  # how many tokens a row's own part grows by, at least


class Cohort:
    """Rows numbered 0, 1, ... without holes. Their own parts are padded to the longest, their groups to the largest.

    The order of calls: for each step `begin` it and run the model with `attend`, then `remember`. Before rows leave,
    `keep` what they computed.

    Attributes:
        rows: how many there are.
        lengths: how many tokens of its own each row has.
        own: each "places heads room width" for keys and values, "places 1 room width" for hidden states.
        shared: for each row the slots of the held tokens that it shares with its group.

    Args:
        store: holds what the rows go on from; it has every plane already.
    """

    def __init__(self, store: Store, shared: Sequence[Ids], lengths: NDArray[np.int64]) -> None:
        self.store, self.shared, self.rows, self.lengths = store, list(shared), len(shared), lengths
        self._room = self.used + _ROOM
        self.own = {name: self._empty(name) for name in store.planes}
        # By the number of kv heads: made once for all layers.
        self._own_masks: dict[int, Tensor] = {}
        self._shared_masks: dict[int, Tensor] = {}
        self._common: dict[Plane, Tensor] = {}  # each "groups heads shared width"
        self._groups = self._shared_lengths = np.zeros(0, dtype=np.int64)  # of each row, and of each group
        self._gather()

    @classmethod
    def entering(cls, store: Store, shared: Sequence[Ids], own: Sequence[Ids]) -> Cohort:
        """Rows that start with copies of these held tokens as their own."""
        cohort = cls(store, shared, np.asarray([len(slots) for slots in own]))
        cohort._copy(own)
        return cohort

    def flat(self) -> Cohort:
        """The same rows, each with copies of what it shared so far."""
        before = np.asarray([len(slots) for slots in self.shared])
        if not before.any():
            return self
        cohort = Cohort(self.store, [slots[:0] for slots in self.shared], before + self.lengths)
        cohort._copy(self.shared)
        row, place = map(self._tensor, _within(self.lengths))
        at = place + self._tensor(before)[row]
        for name, states in cohort.own.items():
            states[row, :, at] = self.own[name][row, :, place]
        return cohort

    def join(self, others: Sequence[Cohort]) -> None:
        """Take the rows of these in, after its own."""
        first, used = self.rows, max(part.used for part in (self, *others))
        self.rows += sum(other.rows for other in others)
        self.shared += [slots for other in others for slots in other.shared]
        self.lengths = np.concatenate([self.lengths, *(other.lengths for other in others)])
        if self.rows > self.places or used > self._room:
            self._resize(max(self._room, used + _ROOM))
        for other in others:
            for name, states in self.own.items():
                states[first : first + other.rows, :, : other.used] = other.own[name][: other.rows, :, : other.used]
            first += other.rows
        self._gather()

    @property
    def places(self) -> int:
        """How many rows there is room for."""
        return len(next(iter(self.own.values())))

    @property
    def used(self) -> int:
        """How many tokens of its own the longest row has."""
        return int(self.lengths.max())

    def leave(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Let these rows go (ascending): the last ones take their places; returns those that stay, as they lie then."""
        left = self.rows - len(rows)
        order = np.arange(left)
        if not len(rows):
            return order
        targets = rows[rows < left]
        sources = order[targets] = np.setdiff1d(np.arange(left, self.rows), rows)
        if len(sources):
            to, of = self._tensor(targets), self._tensor(sources)
            for name, states in self.own.items():
                whole = states.transpose(2, 3) if name.kind == "key" else states  # contiguous: a row is one copy
                whole.index_copy_(0, to, whole.index_select(0, of))
        self.rows, self.lengths, self.shared = left, self.lengths[order], [self.shared[row] for row in order]
        self._groups = self._groups[order]
        if 2 * len(kept := np.unique(self._groups)) <= len(self._shared_lengths):
            self._groups, self._shared_lengths = np.searchsorted(kept, self._groups), self._shared_lengths[kept]
            index, longest = self._tensor(kept), int(self._shared_lengths.max(initial=0))
            self._common = {name: states[index, :, :longest] for name, states in self._common.items() if longest}
        self._seat()
        return order

    def keep(self, rows: NDArray[np.int64], slots: Sequence[Ids]) -> None:
        """Write the latest own tokens of these rows into the store, of each as many as there are slots for it."""
        counts = np.asarray([len(each) for each in slots])
        which, place = _within(counts)
        row, place = rows[which], place + (self.lengths[rows] - counts)[which]
        to, of, at = self._tensor(np.concatenate(slots)), self._tensor(row), self._tensor(place)
        for name, states in self.own.items():
            found = states[of, :, at]
            self.store.write(name, to, found[:, 0] if name == HIDDEN else found)

    def begin(self) -> None:
        """Start a step, which gives each row a token of its own."""
        self._row, self._place = self._tensor(np.arange(self.rows)), self._tensor(self.lengths)
        self.lengths = self.lengths + 1
        if self.used > self._room:
            self._resize(self.used + max(_ROOM, self.used // 2))
        self._own_masks.clear()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of one new token a row to what it shares and to its own tokens, the new one included."""
        rows, heads, _, width = query.shape
        kv_heads, scale = key.shape[1], width**-0.5 if scaling is None else scaling
        keys = self._write(Plane("key", layer), key)
        values = self._write(Plane("value", layer), value)
        query = query.reshape(rows, kv_heads, heads // kv_heads, width)
        scores = torch.baddbmm(self._own_mask(query), query.flatten(0, 1), keys.transpose(1, 2), alpha=scale)
        shared = 0
        if self._common:
            prefix_keys, prefix_values = self._common[Plane("key", layer)], self._common[Plane("value", layer)]
            shared = prefix_keys.shape[2]
            common = torch.baddbmm(
                self._shared_mask(query), self._together(query), prefix_keys.flatten(0, 1).transpose(1, 2), alpha=scale
            )
            scores = torch.cat((self._apart(common, query), scores.unflatten(0, (rows, kv_heads))), -1).flatten(0, 1)
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        out = torch.bmm(weights[..., shared:], values).unflatten(0, (rows, kv_heads))
        if self._common:
            weights = weights.unflatten(0, (rows, kv_heads))[..., :shared]
            out += self._apart(torch.bmm(self._together(weights), prefix_values.flatten(0, 1)), query)
        return out.view(rows, 1, heads, -1)

    def remember(self, hidden: Float[Tensor, "rows width"]) -> None:
        """Keep the last hidden states of the step's tokens."""
        self._write(HIDDEN, hidden[:, None, None])

    def _resize(self, room: int) -> None:
        """Make places for all rows, with room for so many own tokens in each."""
        self._room = room
        for name, states in self.own.items():
            self.own[name], kept = self._empty(name), states[: self.rows]
            self.own[name][: len(kept), :, : states.shape[2]] = kept

    def _copy(self, held: Sequence[Ids]) -> None:
        """Let each row's own part begin with these held tokens."""
        row, place = map(self._tensor, _within(np.asarray([len(slots) for slots in held])))
        slots = self._tensor(np.concatenate(held))
        for name, states in self.own.items():
            if name != HIDDEN and len(slots):
                states[row, :, place] = self.store.read(name, slots)

    def _gather(self) -> None:
        """Copy what each group shares from the store, and seat the rows."""
        names = [int(slots[-1]) if len(slots) else -1 for slots in self.shared]
        _, chosen, self._groups = np.unique(names, return_index=True, return_inverse=True)
        paths = [self.shared[row] for row in chosen]
        self._shared_lengths = np.asarray([len(path) for path in paths], dtype=np.int64)
        index = np.zeros((len(paths), int(self._shared_lengths.max(initial=0))), dtype=np.int64)
        for row, path in zip(index, paths, strict=True):
            row[:] = path[0] if len(path) else 0  # any that is written: weight 0 does not silence a NaN
            row[: len(path)] = path
        held, self._common = self._tensor(index), {}
        for name in self.store.planes if index.size else ():
            if name != HIDDEN:
                order = (0, 2, 3, 1) if name.kind == "key" else (0, 2, 1, 3)
                states = self.store.read(name, held).permute(order).contiguous()
                self._common[name] = states.transpose(2, 3) if name.kind == "key" else states
        self._seat()

    def _together(self, x: Float[Tensor, "rows kv_heads per_kv n"]) -> Float[Tensor, "groups*kv_heads size*per_kv n"]:
        """Rows side by side with the others of their group, so that one product serves them all."""
        seated = x if self._regular else x.index_select(0, self._members)
        return seated.unflatten(0, (len(self._shared_lengths), -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def _apart(
        self, x: Float[Tensor, "groups*kv_heads size*per_kv n"], like: Float[Tensor, "rows kv_heads per_kv _"]
    ) -> Float[Tensor, "rows kv_heads per_kv n"]:
        seated = (
            x.view(len(self._shared_lengths), like.shape[1], -1, like.shape[2], x.shape[-1])
            .transpose(1, 2)
            .flatten(0, 1)
        )
        return seated if self._regular else seated.index_select(0, self._seats)

    def _seat(self) -> None:
        """Groups of unequal size are padded to the largest: each row gets a seat in [groups, largest]."""
        group = self._groups
        sizes = np.bincount(group, minlength=len(self._shared_lengths))
        largest = sizes.max(initial=0)
        order = np.argsort(group, kind="stable")
        rank = np.empty_like(group)
        rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        seats = group * largest + rank
        members = np.zeros(len(sizes) * largest, dtype=np.int64)  # any row where nobody sits
        members[seats] = np.arange(len(group))
        self._regular = bool((seats == np.arange(len(members))).all()) if len(seats) == len(members) else False
        self._seats, self._members = self._tensor(seats), self._tensor(members)
        self._shared_masks.clear()

    def _shared_mask(self, query: Float[Tensor, "_ kv_heads _ _"]) -> Float[Tensor, "groups*kv_heads 1 shared"]:
        if (heads := query.shape[1]) not in self._shared_masks:
            self._shared_masks[heads] = self._mask(self._shared_lengths, int(self._shared_lengths.max()), query)
        return self._shared_masks[heads]

    def _own_mask(self, query: Float[Tensor, "_ kv_heads _ _"]) -> Float[Tensor, "rows*kv_heads 1 used"]:
        if (heads := query.shape[1]) not in self._own_masks:
            self._own_masks[heads] = self._mask(self.lengths, self.used, query)
        return self._own_masks[heads]

    def _mask(self, lengths: NDArray[np.int64], size: int, query: Float[Tensor, "_ kv_heads _ _"]) -> Tensor:
        """0 for the first `lengths[i]` of `size` keys and -inf for the others, for each kv head."""
        seen = self._tensor(np.arange(size) < lengths[:, None])
        mask = query.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
        return mask.repeat_interleave(query.shape[1], 0)[:, None]

    def _write(
        self, plane: Plane, new: Float[Tensor, "rows heads 1 width"]
    ) -> Float[Tensor, "rows*heads places width"]:
        """Put the new token into its place; return the rows' own part as far as it is used."""
        own = self.own[plane]
        own[self._row, :, self._place] = new[:, :, 0]
        return own[: len(new)].flatten(0, 1)[:, : self.used]

    def _empty(self, name: Plane) -> Float[Tensor, "rows heads room width"]:
        plane = self.store.planes[name]
        heads, width = (1 if name == HIDDEN else plane.shape[1]), plane.shape[-1]
        # Zeros: what is masked has weight 0, and 0 * NaN would be NaN.
        if name.kind == "key":
            return plane.new_zeros(self.rows, heads, width, self._room).transpose(2, 3)
        return plane.new_zeros(self.rows, heads, self._room, width)

    def _tensor(self, x: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(x).to(self.store.device)


def _within(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For all tokens of rows of these lengths, one row after the other: their row, and their place in it."""
    row = np.repeat(np.arange(len(lengths)), lengths)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
