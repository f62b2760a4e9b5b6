"""Keys and values of a batch of rows that share prefixes, and attention over them.

A row is one continuation being sampled. Rows of the same prefix form a group; the keys and values of the prefix are
stored once a group, those of the row's own tokens once a row. A step reads the prefix once for all rows of the group
(Hydragen, Juravsky et al. 2024; cascade inference, Ye et al. 2024), and since decoding is bound by memory traffic that
is where the time goes. The scores of both parts meet in one softmax, so the result is that of ordinary attention.

It works with unmodified Hugging Face models: their attention registry calls `attend` with the queries, keys and values
of the new tokens, and the cache does the rest. The model runs with `use_cache=False` and sees no cache at all.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from espalier.errors import EngineError

NAME = "espalier_cached"
_WIDTH_STEP = 16  # a row has room for a multiple of this many tokens of its own

Attend = Callable[[int, Tensor, Tensor, Tensor, float | None], Tensor]
States = dict[int, tuple[Tensor, Tensor]]  # layer -> keys, values


def cached_attention(
    module: nn.Module,
    query: Float[Tensor, "rows heads queries width"],
    key: Float[Tensor, "rows kv_heads queries width"],
    value: Float[Tensor, "rows kv_heads queries value_width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    attend: Attend | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows queries heads value_width"], None]:
    """The registered function: hands the layer's queries, keys and values to `attend`."""
    if attend is None:
        raise EngineError(
            f"{type(module).__name__} does not pass keywords on to its attention; the local engine needs it"
        )
    for name in ("softcap", "s_aux", "position_bias", "sinks"):
        if kwargs.get(name) is not None:
            raise EngineError(f"{type(module).__name__} uses {name} in its attention; the local engine has none")
    return attend(int(module.layer_idx), query, key, value, scaling), None  # type: ignore[arg-type]


AttentionInterface.register(NAME, cached_attention)


class Prefill:
    """Attention over prefixes padded on the right, which keeps their keys and values.

    A token attends to itself and what is before it, so padding at the end is never seen.
    """

    def __init__(self) -> None:
        self.states: States = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        self.states[layer] = key.contiguous(), value.contiguous()
        out = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        return out.transpose(1, 2)


class GroupedCache:
    """The state of one batch. Rows are numbered 0, 1, ... without holes.

    The order of calls: `add` groups, `seat` the rows, then for each step `begin` it and run the model with `attend`.
    When rows leave, the last ones `move` to their places, and `seat` says anew which group each row belongs to.

    Attributes:
        groups: the names of the groups that are stored, in the order in which they are.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.groups: list[int] = []
        self._lengths = np.zeros(0, dtype=np.int64)  # tokens of each group's prefix
        self._prefix: States = {}  # each "groups kv_heads prefix width"
        self._own: States = {}  # each "rows kv_heads own width"
        self._width = 0  # tokens of its own that a row has room for

    def add(self, groups: Sequence[int], lengths: Sequence[int], parts: Sequence[States]) -> None:
        """Append groups whose prefixes went through `Prefill`, in one part or several."""
        parts = [self._prefix, *parts] if self._prefix else parts
        self._prefix = {
            layer: (_stack([part[layer][0] for part in parts]), _stack([part[layer][1] for part in parts]))
            for layer in parts[0]
        }
        self.groups += groups
        self._lengths = np.concatenate([self._lengths, np.asarray(lengths, dtype=np.int64)])

    def retain(self, groups: Container[int]) -> None:
        """Drop all other groups."""
        kept = [place for place, group in enumerate(self.groups) if group in groups]
        if len(kept) == len(self.groups):
            return
        self.groups, self._lengths = [self.groups[place] for place in kept], self._lengths[kept]
        index, width = torch.tensor(kept, dtype=torch.long, device=self.device), int(self._lengths.max(initial=1))
        for layer, (keys, values) in self._prefix.items():
            self._prefix[layer] = keys[index, :, :width], values[index, :, :width]
        if not kept:
            self._prefix = {}

    def move(self, sources: NDArray[np.int64], targets: NDArray[np.int64]) -> None:
        """Copy the rows' own keys and values to other places."""
        if not len(sources):
            return
        to, of = torch.from_numpy(targets).to(self.device), torch.from_numpy(sources).to(self.device)
        for states in self._own.values():
            for state in states:
                state[to] = state[of]

    def seat(self, groups: NDArray[np.int64]) -> None:
        """Say which group each row belongs to."""
        number = {name: place for place, name in enumerate(self.groups)}
        group = np.asarray([number[name] for name in groups.tolist()], dtype=np.int64)
        sizes = np.bincount(group, minlength=len(number))
        largest = sizes.max(initial=0)
        order = np.argsort(group, kind="stable")
        rank = np.empty_like(group)
        rank[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        # Groups of unequal size are padded to the largest: `place` is where a row sits in [groups, largest], `members`
        # the row that sits there (any row where nobody does).
        place = group * largest + rank
        members = np.zeros((len(sizes), largest), dtype=np.int64)
        members.flat[place] = np.arange(len(group))
        self._place, self._members = torch.from_numpy(place).to(self.device), torch.from_numpy(members).to(self.device)
        seen = np.arange(self._lengths.max(initial=1)) < self._lengths[group][:, None]
        self._prefix_seen = torch.from_numpy(seen).to(self.device)

    def begin(self, counts: NDArray[np.int64]) -> None:
        """Start a step: row i has `counts[i]` tokens of its own in the cache and gets one more."""
        self._row = torch.arange(len(counts), device=self.device)
        self._slot = torch.from_numpy(counts).to(self.device)
        self._make_room(int(counts.max()) + 1)
        own_seen = torch.arange(self._width, device=self.device) <= self._slot[:, None]
        seen = torch.cat((self._prefix_seen, own_seen), -1)
        self._mask = torch.zeros(seen.shape, device=self.device).masked_fill_(~seen, float("-inf"))[:, None, None]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention of one new token a row to its prefix and its own tokens, the new one included."""
        keys, values = self._write(layer, key, value)
        prefix_keys, prefix_values = self._prefix[layer]
        rows, heads, _, width = query.shape
        kv_heads, prefix = key.shape[1], prefix_keys.shape[2]
        query = query.reshape(rows, kv_heads, heads // kv_heads, width) * (width**-0.5 if scaling is None else scaling)
        scores = torch.cat(
            (
                self._scatter(self._gather(query) @ prefix_keys.transpose(-1, -2), heads // kv_heads),
                query @ keys.transpose(-1, -2),
            ),
            -1,
        )
        weights = (scores.float() + self._mask).softmax(-1).to(query.dtype)
        out = weights[..., prefix:] @ values
        out += self._scatter(self._gather(weights[..., :prefix]) @ prefix_values, heads // kv_heads)
        return out.view(rows, 1, heads, -1)

    def _gather(self, x: Float[Tensor, "rows kv_heads per_kv n"]) -> Float[Tensor, "groups kv_heads size*per_kv n"]:
        """Rows side by side with the others of their group, so that one product serves them all."""
        return x[self._members].transpose(1, 2).flatten(2, 3)

    def _scatter(
        self, x: Float[Tensor, "groups kv_heads size*per_kv n"], per_kv: int
    ) -> Float[Tensor, "rows kv_heads per_kv n"]:
        return x.unflatten(2, (-1, per_kv)).transpose(1, 2).flatten(0, 1)[self._place]

    def _make_room(self, needed: int) -> None:
        """Fit the width of the rows' own part to what is needed.

        Attention runs over all of that width and masks what is empty: a product over a part of it would first copy the
        part, which costs more than the few tokens that are too many.
        """
        fitting = -(-needed // _WIDTH_STEP) * _WIDTH_STEP
        if self._width < needed or self._width >= 2 * fitting:
            self._width = fitting
            for layer, (keys, values) in self._own.items():
                self._own[layer] = _fit(keys, fitting), _fit(values, fitting)

    def _write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Put the new token into the row's own part; return that part of the active rows."""
        if layer not in self._own:
            # Zeros and not empty: what is masked has weight 0, and 0 * NaN would be NaN.
            self._own[layer] = tuple(  # type: ignore[assignment]
                x.new_zeros(self.rows, x.shape[1], self._width, x.shape[3]) for x in (key, value)
            )
        keys, values = self._own[layer]
        keys[self._row, :, self._slot] = key[:, :, 0]
        values[self._row, :, self._slot] = value[:, :, 0]
        return keys[: len(key)], values[: len(value)]


def _fit(states: Float[Tensor, "rows kv_heads _ width"], width: int) -> Float[Tensor, "rows kv_heads new width"]:
    return F.pad(states, (0, 0, 0, width - states.shape[2])).contiguous()


def _stack(parts: list[Float[Tensor, "_ kv_heads _ width"]]) -> Float[Tensor, "groups kv_heads prefix width"]:
    longest = max(part.shape[2] for part in parts)
    return torch.cat([_fit(part, longest) for part in parts])
