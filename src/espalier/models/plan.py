"""Which packed tokens attend to which, as a few batched attention calls.

Along a path of first children the packed tokens are contiguous: such a *run* is plain causal attention, after a prefix
that hangs above it. Runs of similar size share a call, padded; the padding is dropped on the way out. The plan is made
once for a pack and serves every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

# A call is allowed this much more work than its runs need, and this much for nothing: one call fewer is worth it.
WASTE, FREE = 1.25, 16_384


@dataclass(frozen=True, slots=True)
class Call:
    """One batched attention call.

    Attributes:
        runs, queries, keys: its sizes; `keys` is the longest prefix plus `queries`.
        mask: 0 where a query may look and -inf elsewhere; None for causal attention without a prefix.
    """

    runs: int
    queries: int
    keys: int
    mask: Float[Tensor, "runs_or_1 1 queries keys"] | None


@dataclass(frozen=True, eq=False)
class Plan:
    """How packed tokens attend.

    Attributes:
        queries: the token of every row of every call, flat; padding points at token 0.
        keys: likewise for keys and values.
        output: for each token, its row among `queries`.
        calls: how the rows are cut into calls.
        subtree_end: for each token, the end of the range of tokens that have it on their path.
    """

    queries: Int[Tensor, "query_rows"]
    keys: Int[Tensor, "key_rows"]
    output: Int[Tensor, "tokens"]
    calls: list[Call]
    subtree_end: Int[Tensor, "tokens"]

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


@dataclass(frozen=True, slots=True)
class _Run:
    prefix: Int[np.ndarray, "before"]
    start: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def work(self) -> int:
        return self.size * (len(self.prefix) + self.size)


def plan(parent: list[int], start: list[int], end: list[int], device: torch.device | str = "cpu") -> Plan:
    """The plan for segments that lie depth-first, parents before children."""
    tokens = end[-1] if end else 0
    queries, keys, calls = [], [], []
    output = np.zeros(tokens, np.int64)
    row = 0
    for group in _groups(_runs(parent, start, end)):
        longest = max(run.size for run in group)
        before = max(len(run.prefix) for run in group)
        query = np.zeros((len(group), longest), np.int64)
        key = np.zeros((len(group), before + longest), np.int64)
        for i, run in enumerate(group):
            own = np.arange(run.start, run.end)
            query[i, : run.size] = own
            key[i, : len(run.prefix)] = run.prefix
            key[i, before : before + run.size] = own
            output[own] = row + i * longest + np.arange(run.size)
        row += query.size
        queries.append(query.ravel())
        keys.append(key.ravel())
        mask = _mask([len(run.prefix) for run in group], longest).to(device) if before else None
        calls.append(Call(len(group), longest, before + longest, mask))

    def tensor(parts: list[np.ndarray]) -> Int[Tensor, "rows"]:
        return torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *parts])).to(device)

    return Plan(tensor(queries), tensor(keys), tensor([output]), calls, tensor([_subtree_end(parent, start, end)]))


def _runs(parent: list[int], start: list[int], end: list[int]) -> list[_Run]:
    """Paths of first children, each with the tokens above it; runs without a token are left out."""
    heads: list[int] = []  # of each segment, the segment that begins its run
    prefix: dict[int, np.ndarray] = {}  # of each beginning segment
    ends: dict[int, int] = {}
    for here, above in enumerate(parent):
        if above >= 0 and above == here - 1:
            heads.append(heads[above])
        else:
            heads.append(here)
            prefix[here] = np.zeros(0, np.int64)
            if above >= 0:
                head = heads[above]
                prefix[here] = np.concatenate([prefix[head], np.arange(start[head], end[above])])
        ends[heads[here]] = end[here]
    runs = [_Run(prefix[head], start[head], stop) for head, stop in ends.items()]
    return [run for run in runs if run.size]


def _groups(runs: list[_Run]) -> list[list[_Run]]:
    """Runs that share a call: similar in prefix and size, so that padding them costs little."""
    groups: list[list[_Run]] = []
    work = 0
    for run in sorted(runs, key=lambda run: (len(run.prefix), run.size)):
        group = groups[-1] if groups else []
        before, longest = len(run.prefix), max(run.size, max((other.size for other in group), default=0))
        padded = (len(group) + 1) * longest * (before + longest)
        if group and bool(before) == bool(len(group[0].prefix)) and padded <= WASTE * (work + run.work) + FREE:
            group.append(run)
            work += run.work
        else:
            groups.append([run])
            work = run.work
    return groups


def _mask(prefixes: list[int], queries: int) -> Float[Tensor, "runs_or_1 1 queries keys"]:
    """What each run's queries may see of `[prefix, own]`. Padding lies right of what is real, so causality hides it."""
    before = max(prefixes)
    distinct = sorted(set(prefixes))
    lengths = torch.tensor(prefixes if len(distinct) > 1 else distinct)
    seen: Bool[Tensor, "runs before"] = torch.arange(before) < lengths[:, None]
    own: Bool[Tensor, "queries queries"] = torch.ones(queries, queries, dtype=torch.bool).tril()
    runs = len(lengths)
    allowed = torch.cat(
        [seen[:, None, :].expand(runs, queries, before), own[None].expand(runs, queries, queries)], dim=2
    )
    return torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))[:, None]


def _subtree_end(parent: list[int], start: list[int], end: list[int]) -> Int[np.ndarray, "tokens"]:
    ends = list(end)
    for here in range(len(parent) - 1, -1, -1):
        if parent[here] >= 0:
            ends[parent[here]] = max(ends[parent[here]], ends[here])
    sizes = np.asarray(end) - np.asarray(start)
    return np.repeat(np.asarray(ends, np.int64), sizes) if ends else np.zeros(0, np.int64)
