"""Trees laid end to end, so that a shared prefix is run through the model once.

A token's position id is its depth in tokens; it attends to its ancestors' segments and causally to its own. Segments
lie depth-first, parents before children, so that a first child directly follows its parent and a subtree is one range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from espalier.errors import ModelError
from espalier.models.plan import Plan, plan
from espalier.trees import Node, Tree


@dataclass(frozen=True, eq=False)
class Packed:
    """Trees ready for `Model.forward`; every tensor is on one device.

    Attributes:
        token_ids: all segments' tokens, one after the other.
        positions: how many tokens stand before this one on its path.
        segment: the segment of each token.
        parent: the segment that each segment goes on from; -1 for a root.
        start, end: the tokens of each segment, `start <= token < end`; an empty segment has `start == end`.
        nodes: the node of each segment.
        trees: the tree of each segment.
        targets: tokens whose log-prob is wanted, ascending.
        predictors: for each target, the token whose hidden state predicts it.
        last: the last token of each segment; where it is empty, of its nearest ancestor that is not.
        leaves: the segments that end responses, in the order of the trees' leaves.
    """

    token_ids: Int[Tensor, "tokens"]
    positions: Int[Tensor, "tokens"]
    segment: Int[Tensor, "tokens"]
    parent: Int[Tensor, "segments"]
    start: Int[Tensor, "segments"]
    end: Int[Tensor, "segments"]
    nodes: list[Node]
    trees: list[Tree]
    targets: Int[Tensor, "targets"]
    predictors: Int[Tensor, "targets"]
    last: Int[Tensor, "segments"]
    leaves: Int[Tensor, "leaves"]

    @cached_property
    def target_segment(self) -> Int[Tensor, "targets"]:
        """The segment of each target."""
        return self.segment[self.targets]

    def leaf_sums(self, values: Float[Tensor, "targets"]) -> Float[Tensor, "leaves"]:
        """For each leaf, the sum over all targets between its root and its end; with log-probs, the response's."""
        segments = values.new_zeros(len(self.nodes)).index_add(0, self.target_segment, values)
        leaf, segment = self._paths
        return values.new_zeros(len(self.leaves)).index_add(0, leaf, segments.index_select(0, segment))

    @cached_property
    def paths(self) -> list[list[int]]:
        """Every path from a root to a segment without children, as segments."""
        parent = self.parent.tolist()
        inner = set(parent)
        return [_path(end, parent) for end in range(len(parent)) if end not in inner]

    @cached_property
    def plan(self) -> Plan:
        """Which tokens attend to which, made once for all layers."""
        return plan(self.parent.tolist(), self.start.tolist(), self.end.tolist(), self.token_ids.device)

    @cached_property
    def _paths(self) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
        parent = self.parent.tolist()
        pairs = [(i, segment) for i, leaf in enumerate(self.leaves.tolist()) for segment in _path(leaf, parent)]
        both = torch.tensor(pairs, dtype=torch.long, device=self.parent.device).reshape(-1, 2)
        return both[:, 0].contiguous(), both[:, 1].contiguous()


def pack(
    trees: Iterable[Tree],
    *,
    targets: Callable[[Node], bool] = lambda node: node.author in ("policy", "human"),
    device: torch.device | str = "cpu",
    shared: bool = True,
) -> Packed:
    """Lay the trees' segments end to end.

    Args:
        trees: with token ids on every node (`encode` first).
        targets: the segments whose tokens' log-probs are wanted. A root's first token has nothing that predicts it and
            is never a target.
        shared: False gives every path from root to leaf a copy of its own, with the leaves in the same order.

    Raises:
        ModelError: a node without token ids, or a root without a single token.
    """
    token_ids: list[int] = []
    positions: list[int] = []
    segment: list[int] = []
    parent: list[int] = []
    start: list[int] = []
    end: list[int] = []
    last: list[int] = []
    nodes: list[Node] = []
    owners: list[Tree] = []
    wanted: list[int] = []
    predictors: list[int] = []
    leaves: list[int] = []

    def lay(node: Node, tree: Tree, above: int) -> int:
        ids, here, begin = node.token_ids, len(nodes), len(token_ids)
        if ids is None:
            raise ModelError(f"tree {tree.id!r} has a node without token ids; call encode(trees, tokenizer) first")
        if above < 0 and not ids:
            raise ModelError(
                f"tree {tree.id!r}: its prompt has no token, so nothing predicts the response's first token; "
                "give a prompt or use a tokenizer with a start token"
            )
        depth = 0 if above < 0 else positions[last[above]] + 1
        token_ids.extend(ids)
        positions.extend(range(depth, depth + len(ids)))
        segment.extend([here] * len(ids))
        parent.append(above)
        start.append(begin)
        end.append(begin + len(ids))
        last.append(begin + len(ids) - 1 if ids else last[above])
        nodes.append(node)
        owners.append(tree)
        if ids and targets(node):
            first = begin + (above < 0)
            wanted.extend(range(first, begin + len(ids)))
            predictors.extend([] if above < 0 else [last[above]])
            predictors.extend(range(begin, begin + len(ids) - 1))
        if node.ends_response:
            leaves.append(here)
        return here

    for tree in trees:
        if shared:
            places: dict[int, int] = {}
            for node in tree.walk():
                places[id(node)] = lay(node, tree, places[id(node.parent)] if node.parent is not None else -1)
        else:
            for leaf in tree.leaves() or [tree.root]:
                above = -1
                for node in leaf.path():
                    above = lay(node, tree, above)

    def tensor(values: Sequence[int]) -> Int[Tensor, "items"]:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Packed(
        tensor(token_ids),
        tensor(positions),
        tensor(segment),
        tensor(parent),
        tensor(start),
        tensor(end),
        nodes,
        owners,
        tensor(wanted),
        tensor(predictors),
        tensor(last),
        tensor(leaves),
    )


def _path(segment: int, parent: list[int]) -> list[int]:
    path = []
    while segment >= 0:
        path.append(segment)
        segment = parent[segment]
    return path[::-1]
