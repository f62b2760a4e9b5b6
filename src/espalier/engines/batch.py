"""The keys and values of rows that run side by side, and attention over them.

Each row has a seat, where the keys and values of its own tokens lie: the rest of its prefix, and what it drew. A row
that ends leaves its seat behind, and the next to enter takes it, so nobody else is moved. Attention pads the own parts
of a bench of seats to the longest; rows of like length sit together where they can. What rows share lies once for a
group of them (`espalier.engines.groups`). The scores of both parts meet in one softmax, so the result is that of
ordinary attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from espalier.engines.groups import Groups, mask, within
from espalier.engines.store import HIDDEN, Plane, Store, as_laid
from espalier.engines.trie import Edge, Ids

_ROOM = 32  # how many tokens a row's own part grows by, at least
_SPREAD = 1.25  # seats for each row at most: attention is computed for those that nobody has, too
_BENCH = 16  # seats that are padded alike
# What a bench costs by itself at every step, in tokens of keys and values read: three operators a layer.
_ALONE_ON_CPU, _ALONE_ON_GPU = 50, 100_000


class Held(NamedTuple):
    """What a row goes on from: the slots of what it shares with others and of what is its own, and where they end."""

    shared: Ids
    own: Ids
    end: Edge


class Batch:
    """Rows numbered 0, 1, ... without holes, in the order in which they entered, or of their seats.

    Rows `enter` at the end, in `free` seats. For each step, `begin` it and run the model with `attend`, then
    `remember`. Before rows `leave`, `keep` what they computed.

    Attributes:
        groups: what rows share.
        seats, lengths: of each row, and how many tokens of its own it has.
        own: each "seats heads room width" for keys and values, "seats 1 room width" for hidden states.

    Args:
        store: holds what the rows go on from.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.groups = store, Groups(store)
        self.seats = self.lengths = np.zeros(0, dtype=np.int64)
        self.own: dict[Plane, Tensor] = {}
        self._room = 0
        self._lying: dict[int, tuple[Edge, int]] = {}  # of a seat that was left: where its text ends, its tokens
        self._alone = _ALONE_ON_CPU if store.device.type == "cpu" else _ALONE_ON_GPU
        self._masks: dict[int, list[Tensor]] = {}  # by the number of kv heads: made once for all layers

    @property
    def span(self) -> int:
        """The last seat that is taken is the one before this."""
        return int(self.seats.max(initial=-1)) + 1

    @property
    def used(self) -> int:
        """How many tokens of its own the longest row has."""
        return int(self.lengths.max(initial=0))

    def free(self, rows: Sequence[Held]) -> NDArray[np.int64]:
        """Free seats for these, of those in front; the longest sit where the longest are."""
        lengths = np.asarray([len(row.own) for row in rows], dtype=np.int64)
        free = np.setdiff1d(np.arange(len(self.seats) + len(rows)), self.seats)[: len(rows)]
        used = np.zeros(max(self.span, int(free.max()) + 1) // _BENCH + 1, dtype=np.int64)
        np.maximum.at(used, self.seats // _BENCH, self.lengths)
        found = np.empty_like(free)
        found[np.argsort(-lengths, kind="stable")] = free[np.argsort(-used[free // _BENCH], kind="stable")]
        lying = {self._lying[seat]: seat for seat in free.tolist() if seat in self._lying}
        whose = dict(zip(found.tolist(), range(len(rows)), strict=True))
        for i, row in enumerate(rows):
            # A seat of the same bench in which the row's tokens lie is as good, and spares copying them.
            seat, given = lying.pop((row.end, len(row.own)), -1), int(found[i])
            if seat // _BENCH == given // _BENCH:
                found[[i, whose[seat]]] = seat, given
                whose[given] = whose[seat]
        return found

    def enter(self, seats: NDArray[np.int64], rows: Sequence[Held]) -> None:
        """New rows take these seats."""
        lengths = np.asarray([len(row.own) for row in rows], dtype=np.int64)
        self.seats, self.lengths = np.concatenate((self.seats, seats)), np.concatenate((self.lengths, lengths))
        self._fit()
        lying = [self._lying.pop(seat, None) for seat in seats.tolist()]
        copied = [i for i, row in enumerate(rows) if len(row.own) and lying[i] != (row.end, len(row.own))]
        if copied:
            row, place = within(lengths[copied])
            seat, at = self._tensor(seats[copied][row]), self._tensor(place)
            slots = self._tensor(np.concatenate([rows[i].own for i in copied]))
            for plane, states in self.own.items():
                if plane != HIDDEN:
                    states[seat, :, at] = self.store.read(plane, slots)
        self.groups.enter(seats, [row.shared for row in rows])

    def sort(self) -> NDArray[np.int64]:
        """Number the rows by their seats, which spares attention a permutation; returns their numbers until now."""
        order = np.argsort(self.seats)
        self.seats, self.lengths = self.seats[order], self.lengths[order]
        return order

    def leave(self, rows: NDArray[np.int64], ends: Sequence[Edge | None]) -> NDArray[np.int64]:
        """Let these rows go; returns the numbers of those that stay.

        Args:
            ends: where what each has computed ends, if it is held.
        """
        for seat, end, length in zip(self.seats[rows].tolist(), ends, self.lengths[rows].tolist(), strict=True):
            if end is not None:
                self._lying[seat] = end, length
        self.groups.leave(self.seats[rows])
        stay = np.delete(np.arange(len(self.seats)), rows)
        self.seats, self.lengths = self.seats[stay], self.lengths[stay]
        if self.span > _SPREAD * len(stay):
            self._close_up()
        return stay

    def keep(self, rows: NDArray[np.int64], slots: Sequence[Ids]) -> None:
        """Write the latest own tokens of these rows into the store, of each as many as there are slots for it."""
        counts = np.asarray([len(each) for each in slots])
        which, place = within(counts)
        row, place = rows[which], place + (self.lengths[rows] - counts)[which]
        to, seat, at = self._tensor(np.concatenate(slots)), self._tensor(self.seats[row]), self._tensor(place)
        for plane, states in self.own.items():
            found = states[seat, :, at]
            self.store.write(plane, to, found[:, 0] if plane == HIDDEN else found)

    def begin(self) -> None:
        """Start a step, which gives each row a token of its own."""
        self._seat, self._place = self._tensor(self.seats), self._tensor(self.lengths)
        self.lengths = self.lengths + 1
        self._fit()
        rows, span = len(self.seats), self.span
        self._whole = bool((self.seats == np.arange(span)).all()) if rows == span else False
        self._seen, row = np.ones(span, dtype=np.int64), np.zeros(span, dtype=np.int64)  # nobody's seat sees a token
        self._seen[self.seats], row[self.seats] = self.lengths, np.arange(rows)
        self._row = self._tensor(row)
        self._benches = self._padded_alike()
        self._masks.clear()
        self.groups.begin(span)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of one new token a row to what it shares and to its own tokens, the new one included."""
        rows, heads, _, width = query.shape
        kv_heads, scale = key.shape[1], width**-0.5 if scaling is None else scaling
        keys, values = self._write(Plane("key", layer), key), self._write(Plane("value", layer), value)
        query = query.reshape(rows, kv_heads, heads // kv_heads, width)
        if not self._whole:
            query = query.index_select(0, self._row)
        shared = self.groups.longest
        common = self.groups.scores(layer, query, scale) if shared else None
        outs, weights = list[Tensor](), list[Tensor]()
        for (bench, used), unseen in zip(self._benches, self._mask(query), strict=True):
            q, k, v = (x.flatten(0, 1) for x in (query[bench], keys[bench], values[bench]))
            scores = torch.baddbmm(unseen, q, k[:, :used].transpose(1, 2), alpha=scale)
            if common is not None:
                scores = torch.cat((common[bench].flatten(0, 1), scores), -1)
            weights.append(scores.softmax(-1, dtype=torch.float32).to(query.dtype))
            outs.append(torch.bmm(weights[-1][..., shared:], v[:, :used]).unflatten(0, (-1, kv_heads)))
        out = _joined(outs)
        if common is not None:
            of_common = _joined([each[..., :shared] for each in weights])
            out += self.groups.mix(layer, of_common.unflatten(0, (-1, kv_heads)))
        if not self._whole:
            out = out.index_select(0, self._seat)
        return out.view(rows, 1, heads, -1)

    def remember(self, hidden: Float[Tensor, "rows width"]) -> None:
        """Keep the last hidden states of the step's tokens."""
        self._write(HIDDEN, hidden[:, None, None])

    def _padded_alike(self) -> list[tuple[slice, int]]:
        """Benches, and the own tokens of the longest row of each; neighbours are one where that is cheaper."""
        used = np.maximum.reduceat(self._seen, np.arange(0, len(self._seen), _BENCH)).tolist()
        found: list[tuple[slice, int]] = []
        for i, most in enumerate(used):
            begin, end = i * _BENCH, min((i + 1) * _BENCH, len(self._seen))
            if found:
                before, other = found[-1]
                both, size = max(most, other), before.stop - before.start
                if size * (both - other) + (end - begin) * (both - most) <= self._alone:
                    found[-1] = slice(before.start, end), both
                    continue
            found.append((slice(begin, end), most))
        return found

    def _write(self, plane: Plane, new: Float[Tensor, "rows heads 1 width"]) -> Float[Tensor, "seats heads room width"]:
        """Put the new token into its place; return the own parts."""
        own = self.own[plane]
        own[self._seat, :, self._place] = new[:, :, 0]
        return own

    def _mask(self, query: Float[Tensor, "seats kv_heads _ _"]) -> list[Float[Tensor, "seats*kv_heads 1 used"]]:
        """Of each bench, what is no token of the row."""
        if (heads := query.shape[1]) not in self._masks:
            self._masks[heads] = [mask(self._seen[bench], used, query) for bench, used in self._benches]
        return self._masks[heads]

    def _fit(self) -> None:
        """Make seats for all rows, with room for all of their own tokens."""
        span, seats = self.span, len(self.own[HIDDEN]) if self.own else 0
        if span <= seats and self.used <= self._room:
            return
        if self.used > self._room:
            self._room = self.used + max(_ROOM, self.used // 2)
        for plane in self.store.planes:
            states = self.store.empty(plane, max(span, seats), self._room)
            if plane in self.own:
                old = self.own[plane]
                states[: len(old), :, : old.shape[2]] = old
            self.own[plane] = states

    def _close_up(self) -> None:
        """Let the rows at the back take the free seats in front of them."""
        rows = len(self.seats)
        moving = np.flatnonzero(self.seats >= rows)
        of, to = self.seats[moving], np.setdiff1d(np.arange(rows), self.seats)
        self.groups.move(of, to)
        self.seats[moving] = to
        for seat in to.tolist():
            self._lying.pop(seat, None)
        source, target = self._tensor(of), self._tensor(to)
        for plane, states in self.own.items():
            whole = as_laid(plane, states)  # a row is one copy
            whole.index_copy_(0, target, whole.index_select(0, source))

    def _tensor(self, x: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(x).to(self.store.device)


def _joined(parts: list[Tensor]) -> Tensor:
    """One after the other; a part alone is not copied."""
    return torch.cat(parts) if len(parts) > 1 else parts[0]
