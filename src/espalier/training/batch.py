"""A micro-batch: packed trees, how much each item counts, and what the recipe prepared for its tokens.

The mask is decided here and only here: an item that must not be learned from has weight 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from espalier.errors import TrainingError
from espalier.losses import Unit
from espalier.models import Packed
from espalier.models.budget import fill
from espalier.trees import Forest, Node, Tree


@dataclass(slots=True)
class Batch:
    """What one forward and backward pass works on.

    Attributes:
        packed: the trees, laid end to end.
        weights: for each unit that the recipe's terms use, one weight an item.
        streams: per-token, per-response or per-pair tensors that the recipe computed before the updates.
        pairs: the chosen and the rejected leaf of each pair, as positions in `packed.leaves`.
    """

    packed: Packed
    weights: dict[Unit, Float[Tensor, "items"]]
    streams: dict[str, Tensor] = field(default_factory=dict)
    pairs: tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs"]] | None = None


@dataclass(frozen=True, slots=True)
class Paths:
    """For each response, its target tokens in order, as positions in `packed.targets`.

    Attributes:
        index: padded with 0 on the right.
        mask: True at the real ones.
    """

    index: Int[Tensor, "leaves steps"]
    mask: Bool[Tensor, "leaves steps"]

    @property
    def lengths(self) -> Float[Tensor, "leaves"]:
        return self.mask.sum(-1).float()

    def spread(
        self, values: Float[Tensor, "leaves steps *bins"], weights: Float[Tensor, "leaves"], targets: int
    ) -> tuple[Float[Tensor, "targets *bins"], Float[Tensor, "targets"]]:
        """For each target token, the weighted mean over the responses it lies on, and the sum of their weights.

        A token that several responses share is computed once and counts once for each of them.
        """
        weight, flat = (weights[:, None] * self.mask).double(), self.index.flatten()
        bins = values.shape[2:]
        wide = (-1, *(1 for _ in bins))
        total = torch.zeros(targets, dtype=torch.float64).index_add(0, flat, weight.flatten())
        weighed = values.double().flatten(0, 1) * weight.flatten().view(wide)
        summed = torch.zeros(targets, *bins, dtype=torch.float64).index_add(0, flat, weighed)
        return (summed / total.clamp_min(1e-300).view(wide)).float(), total.float()

    def mean(self, values: Float[Tensor, "targets"]) -> Float[Tensor, "leaves"]:
        """The mean of a token stream over each response (0 for a response without tokens)."""
        return (values[self.index] * self.mask).sum(-1) / self.lengths.clamp_min(1.0)


def paths(packed: Packed) -> Paths:
    """Where each response's target tokens are."""
    of_segment = packed.target_segment
    segments = torch.arange(len(packed.nodes))
    first = torch.searchsorted(of_segment, segments).tolist()
    last = torch.searchsorted(of_segment, segments, right=True).tolist()
    parent = packed.parent.tolist()
    rows: list[list[int]] = []
    for leaf in packed.leaves.tolist():
        chain = []
        while leaf >= 0:
            chain.append(leaf)
            leaf = parent[leaf]
        rows.append([target for segment in reversed(chain) for target in range(first[segment], last[segment])])
    width = max((len(row) for row in rows), default=0)
    index = torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.long).reshape(len(rows), width)
    mask = torch.arange(width)[None] < torch.tensor([len(row) for row in rows])[:, None]
    return Paths(index, mask)


def leaf_nodes(packed: Packed) -> list[Node]:
    """The nodes that end responses, in the order of `packed.leaves`."""
    return [packed.nodes[i] for i in packed.leaves.tolist()]


def leaf_scores(packed: Packed, name: str) -> tuple[Float[Tensor, "leaves"], Bool[Tensor, "leaves"]]:
    """The named score of each response, and whether it is known; the unknown ones hold 0 and must weigh 0."""
    values = [leaf.value(name) for leaf in leaf_nodes(packed)]
    return (
        torch.tensor([0.0 if value is None else value for value in values]),
        torch.tensor([value is not None for value in values], dtype=torch.bool),
    )


def with_outcomes(forest: Forest, by: str) -> Forest:
    """The prompts, each one tree, of which some response has the score that is its outcome or reward.

    Raises:
        TrainingError: there is none.
    """
    kept = forest.merge().filter(lambda tree: any(leaf.value(by) is not None for leaf in tree.leaves()))
    if not len(kept):
        raise TrainingError(f"no response has a score {by!r}; name the one to learn from with recipe.by")
    return kept


def micro_batches(trees: Sequence[Tree], tokens: int) -> list[list[Tree]]:
    """Whole trees in packs that fill `tokens` computed tokens (a shared prefix counts once); a larger tree goes alone.

    Which trees share a pack changes speed and memory, and no number: the reduction is over the whole step.
    """
    sizes = [sum(len(node.token_ids or ()) for node in tree.walk()) for tree in trees]
    return [[trees[i] for i in group] for group in fill(sizes, tokens)]
