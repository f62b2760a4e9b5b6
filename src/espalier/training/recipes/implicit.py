"""Implicit process rewards from outcome labels alone (Yuan et al. 2024, arXiv 2412.01981), by cross-entropy.

The model that comes out is a language model; `ImplicitProcess` reads the rewards of its steps off its log-ratios to the
reference. With pairs in place of labels, train the same model with `DPO` and any of its losses.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from espalier.errors import TrainingError
from espalier.losses import Term, outcome_ce
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_scores
from espalier.training.recipe import Frozen, Recipe, report
from espalier.trees import Forest


class Implicit(Recipe):
    """Fit P(right) = sigmoid(beta * log(policy / reference)) to the outcome of each response."""

    key: ClassVar[str] = "implicit"
    by: str = Field("label", description="the score of a response that is its outcome, in [0, 1]")
    beta: float = Field(0.05, gt=0, description="reward per nat")
    reference: str | None = Field(
        None, description="stream of the forest with the reference's log-probs; the starting policy's by default"
    )

    @property
    def needs_reference(self) -> bool:
        return True

    @property
    def stored_reference(self) -> str | None:
        return self.reference

    def select(self, forest: Forest) -> Forest:
        together = forest.merge()
        outcomes = [value for leaf in together.leaves() if (value := leaf.value(self.by)) is not None]
        if not outcomes or not all(0 <= outcome <= 1 for outcome in outcomes):
            what = "values outside [0, 1]" if outcomes else "no value"
            raise TrainingError(f"the responses' scores {self.by!r} have {what}; name the outcome's with recipe.by")
        return together.filter(lambda tree: any(leaf.value(self.by) is not None for leaf in tree.leaves()))

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        outcome, known = leaf_scores(packed, self.by)
        streams = {"outcome": outcome, "reference": packed.leaf_sums(frozen.reference(packed))}
        return Batch(packed, {"response": known.float()}, streams)

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        outcome = batch.streams["outcome"]
        logratio = batch.packed.leaf_sums(outputs.logprobs) - batch.streams["reference"]
        return {
            "implicit_ce": Term(outcome_ce(logratio, outcome, self.beta), "response"),
            "outcome_accuracy": report(((logratio > 0) == (outcome > 0.5)).float(), "response"),
        }
