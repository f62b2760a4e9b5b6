"""Compute the states of tokens that have slots but no states yet, each once, in packed passes.

Edges of the trie lie end to end in one row of tokens, so nothing is padded but attention, where edges that are alike in
size share a call. An edge attends to the held states of what is above it and causally to itself; edges below it wait
for the next pass. A pass may go through the model together with tokens of running rows (Agrawal et al. 2024, Sarathi,
arXiv 2308.16369).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from espalier.engines.groups import within
from espalier.engines.store import HIDDEN, Plane, Store
from espalier.engines.trie import Edge

_TOKENS = 1024  # in a pass; more leave a processor's cache
# Attention may do this much more work than its edges need, and this much for nothing: one pass fewer is worth it.
_WASTE, _FREE = 1.5, 65_536


def passes(ends: Iterable[Edge]) -> list[list[Edge]]:
    """The edges that make these and all above them ready, pass by pass."""
    waiting = list({edge: None for end in ends for edge in end.above() if not edge.ready})
    found: list[list[Edge]] = []
    done: set[Edge] = set()
    while waiting:
        now = [edge for edge in waiting if edge.parent is not None and (edge.parent.ready or edge.parent in done)]
        found += _alike(now)
        done.update(now)
        waiting = [edge for edge in waiting if edge not in done]
    return found


def _alike(edges: list[Edge]) -> Iterator[list[Edge]]:
    """Edges that go through the model together: alike in what is above them and in size."""
    group: list[Edge] = []
    tokens = work = 0
    for edge in sorted(edges, key=lambda edge: (edge.begin, len(edge.tokens)), reverse=True):
        size = len(edge.tokens)
        longest = max(size, *(len(other.tokens) for other in group)) if group else size
        before = group[0].begin if group else edge.begin
        padded = (len(group) + 1) * longest * (before + longest)
        if group and (tokens + size > _TOKENS or padded > _WASTE * (work + size * edge.end) + _FREE):
            yield group
            group, tokens, work = [], 0, 0
        group.append(edge)
        tokens, work = tokens + size, work + size * edge.end
    if group:
        yield group


class Pass:
    """One packed pass: its tokens, and the attention that also writes their keys and values into the store."""

    def __init__(self, edges: Sequence[Edge], store: Store) -> None:
        self.edges, self.store = edges, store
        sizes = np.asarray([len(edge.tokens) for edge in edges])
        befores = np.asarray([edge.begin for edge in edges])
        longest, before = int(sizes.max()), int(befores.max())
        starts = np.cumsum(sizes) - sizes
        which, place = within(sizes)
        own = np.minimum(starts[:, None] + np.arange(longest), sizes.sum() - 1)
        looked = np.empty((len(edges), before + longest), dtype=np.int64)
        for row, edge in zip(looked, edges, strict=True):
            assert edge.parent is not None
            row[:] = edge.slots[0]  # any that is written: weight 0 does not silence a NaN
            row[: edge.begin] = edge.parent.path()
            row[before : before + len(edge.slots)] = edge.slots

        def tensor(x: np.ndarray) -> Tensor:
            return torch.from_numpy(x).to(store.device)

        self.tokens = np.concatenate([edge.tokens for edge in edges])
        self.positions = befores[which] + place
        self.slots = tensor(np.concatenate([edge.slots for edge in edges]))
        self._own, self._looked = tensor(own), tensor(looked)
        self._back = tensor(which * longest + place)
        self._mask: Tensor | None = None
        if before:
            seen = np.broadcast_to((np.arange(before) < befores[:, None])[:, None], (len(edges), longest, before))
            causal = np.broadcast_to(np.tri(longest, dtype=bool), (len(edges), longest, longest))
            self._mask = tensor(np.concatenate((seen, causal), -1))[:, None]

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "tokens heads width"],
        key: Float[Tensor, "tokens kv_heads width"],
        value: Float[Tensor, "tokens kv_heads value_width"],
        scaling: float | None,
    ) -> Float[Tensor, "tokens heads value_width"]:
        """Padding lies right of an edge's tokens, where causality hides it, or is masked."""
        q = query[self._own].transpose(1, 2)
        k = self._keys(Plane("key", layer), key)
        v = self._keys(Plane("value", layer), value)
        out = F.scaled_dot_product_attention(
            q, k, v, self._mask, is_causal=self._mask is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.transpose(1, 2).flatten(0, 1).index_select(0, self._back)

    def finish(self, hidden: Float[Tensor, "tokens width"]) -> None:
        """Hold the last hidden states: what was computed is there for others now."""
        self.store.write(HIDDEN, self.slots, hidden)
        for edge in self.edges:
            edge.ready = True

    def _keys(self, plane: Plane, new: Float[Tensor, "tokens heads width"]) -> Float[Tensor, "edges heads keys width"]:
        self.store.write(plane, self.slots, new)
        return self.store.read(plane, self._looked).transpose(1, 2)
