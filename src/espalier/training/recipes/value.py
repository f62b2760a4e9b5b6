"""Outcome-supervised value models (Yu et al. 2023, "OVM"; Cobbe et al. 2021): after each token, will this succeed?"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from espalier.errors import TrainingError
from espalier.losses import Term, bce, mse
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_scores, paths
from espalier.training.recipe import Frozen, Recipe
from espalier.trees import Forest


class Value(Recipe):
    """At every token of a response, forecast the response's outcome.

    With `loss="bce"` the outcome lies in [0, 1] and the head's sigmoid is its probability; with "mse" it is any number.
    """

    key: ClassVar[str] = "value"
    head: ClassVar = "value"
    saves: ClassVar = "value"
    by: str = Field("label", description="the score of a response that is its outcome")
    loss: Literal["bce", "mse"] = "bce"

    @property
    def link(self) -> Literal["probability", "real"]:
        return "probability" if self.loss == "bce" else "real"

    @property
    def needs_logprobs(self) -> bool:
        return False

    def select(self, forest: Forest) -> Forest:
        together = forest.merge()
        kept = together.filter(lambda tree: any(leaf.value(self.by) is not None for leaf in tree.leaves()))
        if not len(kept):
            raise TrainingError(f"no response has a score {self.by!r}; name the outcome's score with recipe.by")
        outcomes = [value for leaf in kept.leaves() if (value := leaf.value(self.by)) is not None]
        if self.loss == "bce" and not all(0 <= outcome <= 1 for outcome in outcomes):
            raise TrainingError(f"{self.by!r} has values outside [0, 1]; use recipe.loss=mse")
        return kept

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        outcome, known = leaf_scores(packed, self.by)
        where = paths(packed)
        targets, weights = where.spread(outcome[:, None].expand(where.index.shape), known.float(), len(packed.targets))
        return Batch(packed, {"token": weights}, {"outcome": targets})

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        head = outputs.heads["value"][batch.packed.targets]
        if self.loss == "bce":
            return {"value_bce": Term(bce(head, batch.streams["outcome"]), "token")}
        return {"value_mse": Term(mse(head, batch.streams["outcome"]), "token")}
