"""Process reward models: after each step, is it still right? (Lightman et al. 2023; Wang et al. 2023, Math-Shepherd).

Labels sit on the steps: people's, or those that `espalier label` writes. A step's label is learned at its last token.
What comes out is an ordinary token-classification checkpoint; `ValueScorer` reads it, and `Steps` makes one score of
all steps of a response.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field

from espalier.errors import TrainingError
from espalier.losses import Term, bce, mse
from espalier.models import Outputs, Packed
from espalier.models.heads import Link
from espalier.training.batch import Batch
from espalier.training.recipe import Frozen, Recipe
from espalier.trees import Forest, Node


class Process(Recipe):
    """At the last token of every labelled step, forecast the label.

    "binary": whether the label is above `threshold` (0: some completion succeeded, "hard estimation"). "soft": the
    label itself, a probability ("soft estimation"). "advantage": the label itself, any number (Setlur et al. 2024,
    arXiv 2410.08146: the change in success under a prover), by squared error.
    """

    key: ClassVar[str] = "process"
    head: ClassVar = "value"
    saves: ClassVar = "value"
    by: str = Field("label", description="the score of a step that is its label")
    label: Literal["binary", "soft", "advantage"] = "soft"
    threshold: float = Field(0.0, description="of binary labels: above it a step is right")

    @property
    def link(self) -> Link:
        return "real" if self.label == "advantage" else "probability"

    @property
    def needs_logprobs(self) -> bool:
        return False

    def select(self, forest: Forest) -> Forest:
        kept = forest.merge().filter(lambda tree: any(self._label(node) is not None for node in tree.walk()))
        if not len(kept):
            raise TrainingError(f"no step has a score {self.by!r}; label the steps, or name their score with recipe.by")
        labels = [label for node in kept.nodes() if (label := self._label(node)) is not None]
        if self.label == "soft" and not all(0 <= label <= 1 for label in labels):
            raise TrainingError(f"{self.by!r} has values outside [0, 1]; use recipe.label=advantage, or binary")
        return kept

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        found = [(i, label) for i, node in enumerate(packed.nodes) if (label := self._label(node)) is not None]
        steps = torch.tensor([i for i, _ in found], dtype=torch.long)
        labels = torch.tensor([label for _, label in found])
        return Batch(packed, {"step": torch.ones(len(found))}, {"steps": steps, "labels": labels})

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        head = outputs.heads["value"][batch.packed.last[batch.streams["steps"]]]
        labels = batch.streams["labels"]
        if self.label == "advantage":
            return {"process_mse": Term(mse(head, labels), "step")}
        return {"process_bce": Term(bce(head, labels), "step")}

    def _label(self, node: Node) -> float | None:
        value = node.value(self.by) if node.parent is not None and self.targets(node) else None
        return value if value is None or self.label != "binary" else float(value > self.threshold)
