"""Which responses of a tree are compared with which, for every recipe that learns from pairs."""

from __future__ import annotations

import torch
from pydantic import Field

from espalier.errors import TrainingError
from espalier.models import Packed
from espalier.training.batch import Batch, leaf_nodes
from espalier.training.recipe import Recipe
from espalier.trees import Forest, Node
from espalier.trees.views import pairs


class Paired(Recipe):
    """A recipe that compares responses to one prompt, two at a time."""

    by: str = Field("preference", description="the score that says which response is better")
    least_margin: float = Field(0.0, ge=0, description="leave out pairs whose scores differ by no more than this")

    def select(self, forest: Forest) -> Forest:
        # Labelled rows come one to a tree; to be compared, the answers to one prompt must stand in one tree.
        together = forest if self.by == "preference" else forest.merge()
        kept = together.filter(lambda tree: bool(pairs(tree, self.by, self.least_margin)))
        if not len(kept):
            raise TrainingError(
                f"no prompt has two responses whose {self.by!r} scores differ by more than {self.least_margin}; "
                f"found {len(forest)} trees. Name another score with recipe.by"
            )
        return kept

    def paired(self, packed: Packed) -> Batch:
        """The pairs of every tree in `packed`; each weighs the same.

        A step may draw a tree twice (at the end of a pass over the data): each time it counts.
        """
        roots = (packed.parent < 0).nonzero()[:, 0]
        drawn = torch.searchsorted(roots, packed.leaves, right=True) - 1
        places: list[dict[Node, int]] = [{} for _ in roots]
        for place, (leaf, draw) in enumerate(zip(leaf_nodes(packed), drawn.tolist(), strict=True)):
            places[draw][leaf] = place
        found = [
            (place[pair.chosen], place[pair.rejected])
            for root, place in zip(roots.tolist(), places, strict=True)
            for pair in pairs(packed.trees[root], self.by, self.least_margin)
        ]
        both = torch.tensor(found, dtype=torch.long).reshape(-1, 2)
        return Batch(packed, {"pair": torch.ones(len(found))}, pairs=(both[:, 0], both[:, 1]))
