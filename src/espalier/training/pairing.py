"""Which responses of a tree are compared with which, for every recipe that learns from pairs."""

from __future__ import annotations

import torch
from pydantic import Field

from espalier.errors import TrainingError
from espalier.models import Packed
from espalier.training.batch import Batch, leaf_nodes
from espalier.training.recipe import Recipe
from espalier.trees import Forest
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
        """The pairs of every tree in `packed`; each weighs the same."""
        position = {id(leaf): i for i, leaf in enumerate(leaf_nodes(packed))}
        found = [pair for tree in dict.fromkeys(packed.trees) for pair in pairs(tree, self.by, self.least_margin)]
        chosen = torch.tensor([position[id(pair.chosen)] for pair in found], dtype=torch.long)
        rejected = torch.tensor([position[id(pair.rejected)] for pair in found], dtype=torch.long)
        return Batch(packed, {"pair": torch.ones(len(found))}, pairs=(chosen, rejected))
