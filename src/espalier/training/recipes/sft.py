"""Supervised fine-tuning: raise the likelihood of the demonstrations, token by token."""

from __future__ import annotations

from typing import ClassVar

import torch

from espalier.errors import TrainingError
from espalier.losses import Term, nll
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_nodes, paths
from espalier.training.recipe import Frozen, Recipe
from espalier.trees import Forest


class SFT(Recipe):
    """Learn every response; where `best` names a score, only the responses that have it above 0.5."""

    key: ClassVar[str] = "sft"
    best: str | None = None

    def select(self, forest: Forest) -> Forest:
        name = self.best

        def good(value: float | None) -> bool:
            return value is not None and value > 0.5

        kept = forest.filter(lambda tree: any(name is None or good(leaf.value(name)) for leaf in tree.leaves()))
        if not len(kept):
            raise TrainingError(f"SFT needs prompts with a response{f' whose {name!r} is above 0.5' if name else ''}")
        return kept

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        name = self.best
        kept = [name is None or (leaf.value(name) or 0.0) > 0.5 for leaf in leaf_nodes(packed)]
        where = paths(packed)
        _, weights = where.spread(torch.zeros(where.index.shape), torch.tensor(kept).float(), len(packed.targets))
        return Batch(packed, {"token": weights.clamp_max(1.0)})

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        return {"nll": Term(nll(outputs.logprobs), "token")}
