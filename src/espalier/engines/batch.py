"""The rows that run, in cohorts: rows that entered together, and others where one step for all of them costs less.

Attention pads the rows of a cohort to the longest and its groups to the largest. A long shared prompt is worth a cohort
with groups; of rows that share little, or of groups most of whose rows have left, each has a copy for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from espalier.engines import sharing
from espalier.engines.cohort import Cohort
from espalier.engines.store import Store
from espalier.engines.trie import Ids

# What a cohort costs by itself at every step, in tokens of keys and values read: some twenty operators a layer.
_COHORT_ON_CPU, _COHORT_ON_GPU = 4_000, 100_000
_COMMON = 3  # so many times cheaper is a token that is read for all rows of a group, for each of its places


class Batch:
    """Rows numbered 0, 1, ... without holes, cohort after cohort.

    Rows `enter` at the end. For each step, `begin` it and run the model with `attend`, then `remember`. Before rows
    `leave`, `keep` what they computed.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.cohorts: list[Cohort] = []
        self._fixed = _COHORT_ON_CPU if store.device.type == "cpu" else _COHORT_ON_GPU

    def enter(self, shared: Sequence[Ids], own: Sequence[Ids]) -> None:
        """New rows: for each the slots of the held tokens that it shares with others, and of those that are its own."""
        self.cohorts.append(Cohort.entering(self.store, shared, own))

    def tidy(self) -> NDArray[np.int64]:
        """Merge cohorts as long as that makes a step cheaper; returns the rows as they lie then."""
        lots = [[i] for i in range(len(self.cohorts))]

        def cost(lot: list[int]) -> int:
            return min(_costs([self.cohorts[i] for i in lot]))

        while len(lots) > 1:
            pairs = [(a, b) for i, a in enumerate(lots) for b in lots[:i]]
            a, b = min(pairs, key=lambda pair: cost(pair[0] + pair[1]) - cost(pair[0]) - cost(pair[1]))
            if cost(a + b) - cost(a) - cost(b) > self._fixed:
                break
            lots = [lot for lot in lots if lot not in (a, b)] + [a + b]
        starts = np.cumsum([0, *(cohort.rows for cohort in self.cohorts)])
        lots = [sorted(lot, key=lambda i: -self.cohorts[i].places) for lot in lots]
        order = [np.arange(starts[i], starts[i + 1]) for lot in lots for i in lot]
        self.cohorts = [_merged([self.cohorts[i] for i in lot]) for lot in lots]
        return np.concatenate([np.zeros(0, dtype=np.int64), *order])

    def leave(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Let these rows go (ascending); returns those that stay, as they lie then."""
        order = [np.zeros(0, dtype=np.int64)]
        for cohort, start, gone in self._parts(rows):
            order.append(start + cohort.leave(gone))
        self.cohorts = [cohort for cohort in self.cohorts if cohort.rows]
        return np.concatenate(order)

    def keep(self, rows: NDArray[np.int64], slots: Sequence[Ids]) -> None:
        """Write the latest own tokens of these rows (ascending) into the store, as many as there are slots for each."""
        first = 0
        for cohort, _, local in self._parts(rows):
            if len(local):
                cohort.keep(local, slots[first : first + len(local)])
            first += len(local)

    def begin(self) -> None:
        """Start a step, which gives each row a token of its own."""
        for cohort in self.cohorts:
            cohort.begin()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of one new token a row to what it shares and to its own tokens, the new one included."""
        sizes = [cohort.rows for cohort in self.cohorts]
        parts = zip(self.cohorts, query.split(sizes), key.split(sizes), value.split(sizes), strict=True)
        return torch.cat([cohort.attend(layer, q, k, v, scaling) for cohort, q, k, v in parts])

    def remember(self, hidden: Float[Tensor, "rows width"]) -> None:
        """Keep the last hidden states of the step's tokens."""
        parts = hidden.split([cohort.rows for cohort in self.cohorts])
        for cohort, part in zip(self.cohorts, parts, strict=True):
            cohort.remember(part)

    def _parts(self, rows: NDArray[np.int64]) -> list[tuple[Cohort, int, NDArray[np.int64]]]:
        """For each cohort the number of its first row, and which of its rows are among `rows` (ascending)."""
        ends = np.cumsum([cohort.rows for cohort in self.cohorts])
        starts = ends - [cohort.rows for cohort in self.cohorts]
        cuts = np.searchsorted(rows, ends)
        return [
            (cohort, int(start), part - start)
            for cohort, start, part in zip(self.cohorts, starts, np.split(rows, cuts[:-1]), strict=True)
        ]


def _merged(cohorts: Sequence[Cohort]) -> Cohort:
    """All rows in the first of these."""
    if len(cohorts) > 1:
        apart, shared = _costs(cohorts)
        cohorts = cohorts if shared < apart else [cohort.flat() for cohort in cohorts]
        cohorts[0].join(cohorts[1:])
    return cohorts[0]


def _costs(cohorts: Sequence[Cohort]) -> tuple[int, int]:
    """What a step of these rows in one cohort costs, in own tokens read: if they share nothing, and if they share."""
    lengths = np.concatenate([cohort.lengths for cohort in cohorts])
    shared = [path for cohort in cohorts for path in cohort.shared]
    groups = Counter(int(path[-1]) if len(path) else -1 for path in shared)
    before = np.asarray([len(path) for path in shared])
    common = len(groups) * max(groups.values()) * int(before.max())
    apart, together = len(lengths) * int((before + lengths).max()), len(lengths) * int(lengths.max())
    return apart, together + common // _COMMON + sharing.GROUP * len(groups)
