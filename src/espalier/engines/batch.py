"""The keys and values of the rows that run, and attention over them.

A row is one continuation being sampled. Rows that share a beginning form a group; its keys and values lie once a group,
those of the row's own tokens (the rest of its prefix, and what it drew) once a row. A step reads the shared part once
for all rows of the group (Hydragen, Juravsky et al. 2024; cascade inference, Ye et al. 2024), and since decoding is
bound by memory traffic that is where the time goes. The scores of both parts meet in one softmax, so the result is that
of ordinary attention. Keys lie transposed in memory, their tokens side by side: on a CPU that makes the many small
products with them three times as fast.
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


class Batch:
    """The state of the running rows, which are numbered 0, 1, ... without holes.

    The order of calls: rows `enter`, all are told to `gather` what they share, then for each step `begin` it and run
    the model with `attend`. Before rows leave, `keep` what they computed; then the last rows `move` into the holes.

    Attributes:
        own: each "rows heads room width" for keys and values, "rows 1 room width" for hidden states.
    """

    def __init__(self, rows: int, store: Store) -> None:
        self.rows, self.store = rows, store
        self.own: dict[Plane, Tensor] = {}
        self._room = 0
        self._shared: dict[Plane, Tensor] = {}  # each "groups heads shared width"
        self._groups = self._lengths = np.zeros(0, dtype=np.int64)  # of each row its group, of each group its tokens
        # By the number of kv heads: made once for all layers.
        self._own_masks: dict[int, Tensor] = {}
        self._shared_masks: dict[int, Tensor] = {}

    def enter(self, first: int, slots: Sequence[Ids]) -> None:
        """Rows `first`, `first + 1`, ... start with copies of these held tokens as their own."""
        longest = max(map(len, slots), default=0)
        if not longest:
            return
        self._make_room(longest, 0)
        index = np.zeros((len(slots), longest), dtype=np.int64)  # past a row's end a state that is masked
        for row, own in zip(index, slots, strict=True):
            row[: len(own)] = own
        held = self._tensor(index)
        for name, plane in self.store.planes.items():
            if name != HIDDEN:
                states = self._own(name, plane[:0].unsqueeze(2))
                states[first : first + len(slots), :, :longest] = self.store.read(name, held).transpose(1, 2)

    def gather(self, groups: NDArray[np.int64], shared: dict[int, Ids]) -> None:
        """Say which group each row belongs to, and which held tokens each group shares."""
        names = sorted(set(groups.tolist()))
        number = {name: place for place, name in enumerate(names)}
        self._groups = np.asarray([number[name] for name in groups.tolist()], dtype=np.int64)
        lengths = np.asarray([len(shared[name]) for name in names], dtype=np.int64)
        index = np.zeros((len(names), int(lengths.max(initial=0))), dtype=np.int64)
        for row, name in zip(index, names, strict=True):
            row[:] = shared[name][0] if len(shared[name]) else 0
            row[: len(shared[name])] = shared[name]
        held, self._shared = self._tensor(index), {}
        if index.size:
            for name in self.store.planes:
                if name != HIDDEN:
                    order = (0, 2, 3, 1) if name.kind == "key" else (0, 2, 1, 3)
                    states = self.store.read(name, held).permute(order).contiguous()
                    self._shared[name] = states.transpose(2, 3) if name.kind == "key" else states
        self._lengths = lengths
        self._seat()

    def move(self, sources: NDArray[np.int64], targets: NDArray[np.int64], left: int) -> None:
        """Copy rows to other places; the first `left` stay."""
        if len(sources):
            to, of = self._tensor(targets), self._tensor(sources)
            for name, states in self.own.items():
                whole = states.transpose(2, 3) if name.kind == "key" else states  # contiguous: a row is one copy
                whole.index_copy_(0, to, whole.index_select(0, of))
            self._groups[targets] = self._groups[sources]
        self._groups = self._groups[:left]
        if 2 * len(kept := np.unique(self._groups)) <= len(self._lengths):
            self._groups, self._lengths = np.searchsorted(kept, self._groups), self._lengths[kept]
            index, longest = self._tensor(kept), int(self._lengths.max(initial=0))
            self._shared = {name: states[index, :, :longest] for name, states in self._shared.items() if longest}
        self._seat()

    def keep(self, rows: Ids, places: Ids, slots: Ids) -> None:
        """Write own tokens into the store: token `places[i]` of row `rows[i]` into slot `slots[i]`."""
        row, place, slot = self._tensor(rows), self._tensor(places), self._tensor(slots)
        for name, states in self.own.items():
            found = states[row, :, place]
            self.store.write(name, slot, found[:, 0] if name == HIDDEN else found)

    def begin(self, places: NDArray[np.int64], drawn: int) -> None:
        """Start a step: the new token of row i is its own token number `places[i]`; rows have drawn up to `drawn`."""
        self._places, self._used = places, int(places.max()) + 1
        self._make_room(self._used, drawn)
        self._row, self._place = self._tensor(np.arange(len(places))), self._tensor(places)
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
        if self._shared:
            prefix_keys, prefix_values = self._shared[Plane("key", layer)], self._shared[Plane("value", layer)]
            shared = prefix_keys.shape[2]
            common = torch.baddbmm(
                self._shared_mask(query), self._together(query), prefix_keys.flatten(0, 1).transpose(1, 2), alpha=scale
            )
            scores = torch.cat((self._apart(common, query), scores.unflatten(0, (rows, kv_heads))), -1).flatten(0, 1)
        weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
        out = torch.bmm(weights[..., shared:], values).unflatten(0, (rows, kv_heads))
        if self._shared:
            weights = weights.unflatten(0, (rows, kv_heads))[..., :shared]
            out += self._apart(torch.bmm(self._together(weights), prefix_values.flatten(0, 1)), query)
        return out.view(rows, 1, heads, -1)

    def remember(self, hidden: Float[Tensor, "rows width"]) -> None:
        """Keep the last hidden states of the step's tokens."""
        self._write(HIDDEN, hidden[:, None, None])

    def _together(self, x: Float[Tensor, "rows kv_heads per_kv n"]) -> Float[Tensor, "groups*kv_heads size*per_kv n"]:
        """Rows side by side with the others of their group, so that one product serves them all."""
        seated = x if self._regular else x.index_select(0, self._members)
        return seated.unflatten(0, (len(self._lengths), -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)

    def _apart(
        self, x: Float[Tensor, "groups*kv_heads size*per_kv n"], like: Float[Tensor, "rows kv_heads per_kv _"]
    ) -> Float[Tensor, "rows kv_heads per_kv n"]:
        seated = x.view(len(self._lengths), like.shape[1], -1, like.shape[2], x.shape[-1]).transpose(1, 2).flatten(0, 1)
        return seated if self._regular else seated.index_select(0, self._seats)

    def _seat(self) -> None:
        """Groups of unequal size are padded to the largest: each row gets a seat in [groups, largest]."""
        group = self._groups
        sizes = np.bincount(group, minlength=len(self._lengths))
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
            self._shared_masks[heads] = self._mask(self._lengths, int(self._lengths.max()), query)
        return self._shared_masks[heads]

    def _own_mask(self, query: Float[Tensor, "_ kv_heads _ _"]) -> Float[Tensor, "rows*kv_heads 1 used"]:
        if (heads := query.shape[1]) not in self._own_masks:
            self._own_masks[heads] = self._mask(self._places + 1, self._used, query)
        return self._own_masks[heads]

    def _mask(self, lengths: NDArray[np.int64], size: int, query: Float[Tensor, "_ kv_heads _ _"]) -> Tensor:
        """0 for the first `lengths[i]` of `size` keys and -inf for the others, for each kv head."""
        seen = self._tensor(np.arange(size) < lengths[:, None])
        mask = query.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
        return mask.repeat_interleave(query.shape[1], 0)[:, None]

    def _make_room(self, needed: int, drawn: int) -> None:
        """Let every row have `needed` tokens of its own, and as many more as it is likely to draw."""
        if self._room >= needed:
            return
        self._room = needed + max(_ROOM, drawn)
        for name, states in self.own.items():
            self.own[name] = self._empty(name, states)
            self.own[name][:, :, : states.shape[2]] = states

    def _write(
        self, plane: Plane, new: Float[Tensor, "rows heads 1 width"]
    ) -> Float[Tensor, "rows*heads places width"]:
        """Put the new token into its place; return the rows' own part as far as it is used."""
        own = self._own(plane, new)
        own[self._row, :, self._place] = new[:, :, 0]
        return own[: len(new)].flatten(0, 1)[:, : self._used]

    def _own(self, plane: Plane, like: Float[Tensor, "_ heads _ width"]) -> Float[Tensor, "rows heads room width"]:
        if plane not in self.own:
            self.own[plane] = self._empty(plane, like)
        return self.own[plane]

    def _empty(self, plane: Plane, like: Float[Tensor, "_ heads _ width"]) -> Float[Tensor, "rows heads room width"]:
        # Zeros: what is masked has weight 0, and 0 * NaN would be NaN.
        if plane.kind == "key":
            return like.new_zeros(self.rows, like.shape[1], like.shape[3], self._room).transpose(2, 3)
        return like.new_zeros(self.rows, like.shape[1], self._room, like.shape[3])

    def _tensor(self, x: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(x).to(self.store.device)
