"""Which packed tokens attend to which, as a few blocks of consecutive tokens.

Segments lie depth-first, so whatever a token of a block sees lies either in the block or on the path to the block's
*first* token. A block is therefore one product of consecutive queries with a few ranges of keys, and what lies above
the diagonal of a long segment is in no block. The plan is made once for a pack and serves every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

SHORT, LONG = 128, 512  # a segment is cut in four, but in blocks no shorter and no longer than this
# A block costs as much as this many pairs of a query and a key before it has any: small segments share one.
FIXED = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive queries and all that they see.

    Attributes:
        start, end: the queries, `start <= token < end`.
        ranges: the keys, as ascending ranges of tokens; the last one ends with the queries.
        mask: 0 where a query sees a key and -inf elsewhere. It covers the last keys; every query sees the others.
    """

    start: int
    end: int
    ranges: tuple[tuple[int, int], ...]
    mask: Float[Tensor, "queries last_keys"]

    @property
    def keys(self) -> int:
        return sum(end - start for start, end in self.ranges)


@dataclass(frozen=True, eq=False)
class Plan:
    """How packed tokens attend.

    Attributes:
        blocks: together they hold every token once, in order.
        subtree_end: for each token, the end of the range of tokens that have it on their path.
    """

    blocks: list[Block]
    subtree_end: Int[Tensor, "tokens"]

    @cached_property
    def mean_keys(self) -> float:
        """How many keys a query meets, on average."""
        pairs = sum((block.end - block.start) * block.keys for block in self.blocks)
        return pairs / max(1, len(self.subtree_end))

    @cached_property
    def block_mask(self) -> BlockMask:
        """The whole pattern for flex attention: a query sees the keys up to itself in whose subtree it lies."""
        subtree_end = self.subtree_end
        tokens, device = len(subtree_end), subtree_end.device

        def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (query < subtree_end[key])

        return create_block_mask(
            visible, None, None, tokens, tokens, device=device.type, _compile=device.type == "cuda"
        )


def plan(parent: list[int], start: list[int], end: list[int], device: torch.device | str = "cpu") -> Plan:
    """The plan for segments that lie depth-first, parents before children."""
    subtree_end = _subtree_end(parent, start, end)
    blocks = []
    for segment, first, stop in _cuts(parent, start, end):
        ranges = _ranges(parent, start, end, segment, first, stop)
        mask = _mask(first, stop, ranges, subtree_end)
        blocks.append(Block(first, stop, ranges, torch.from_numpy(mask).to(device)))
    return Plan(blocks, torch.from_numpy(subtree_end).to(device))


def _cuts(parent: list[int], start: list[int], end: list[int]) -> list[tuple[int, int, int]]:
    """Where blocks begin and end, and the segment of their first token: long segments in parts, small ones joined."""
    cuts: list[tuple[int, int, int]] = []
    depth: list[int] = []  # of each segment, the tokens above it
    joined = cost = 0
    for segment, above in enumerate(parent):
        depth.append(0 if above < 0 else depth[above] + end[above] - start[above])
        size = end[segment] - start[segment]
        parts = -(-size // min(max(SHORT, size // 4), LONG))
        for part in range(parts):
            first, stop = start[segment] + size * part // parts, start[segment] + size * (part + 1) // parts
            before = depth[segment] + first - start[segment]
            alone = FIXED + (stop - first) * (before + stop - first)
            if cuts:
                head, begin, _ = cuts[-1]
                whole = stop - begin
                together = FIXED + whole * (joined + whole)
                if together <= cost + alone:
                    cuts[-1], cost = (head, begin, stop), together
                    continue
            cuts.append((segment, first, stop))
            joined, cost = before, alone
    return cuts


def _ranges(
    parent: list[int], start: list[int], end: list[int], segment: int, first: int, stop: int
) -> tuple[tuple[int, int], ...]:
    """The path to token `first` of `segment`, and on to `stop`; ranges that touch are one."""
    ranges = [(start[segment], stop)]
    while (segment := parent[segment]) >= 0:
        if end[segment] == ranges[-1][0]:
            ranges[-1] = (start[segment], ranges[-1][1])
        elif end[segment] > start[segment]:
            ranges.append((start[segment], end[segment]))
    return tuple(ranges[::-1])


def _mask(
    first: int, stop: int, ranges: tuple[tuple[int, int], ...], subtree_end: Int[np.ndarray, "tokens"]
) -> Float[np.ndarray, "queries last_keys"]:
    query = np.arange(first, stop)[:, None]
    key = np.concatenate([np.arange(*each) for each in ranges])
    unseen = int(np.argmax((subtree_end[key] < stop) | (key >= first)))  # the first key that not every query sees
    key = key[unseen:]
    seen: Bool[np.ndarray, "queries last_keys"] = (key <= query) & (query < subtree_end[key])
    return np.where(seen, np.float32(0), np.float32(-np.inf))


def _subtree_end(parent: list[int], start: list[int], end: list[int]) -> Int[np.ndarray, "tokens"]:
    ends = list(end)
    for here in range(len(parent) - 1, -1, -1):
        if parent[here] >= 0:
            ends[parent[here]] = max(ends[parent[here]], ends[here])
    sizes = np.asarray(end) - np.asarray(start)
    return np.repeat(np.asarray(ends, np.int64), sizes) if ends else np.zeros(0, np.int64)
