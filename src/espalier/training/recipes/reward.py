"""Reward models from comparisons (Bradley and Terry 1952; Ouyang et al. 2022, eq. 1)."""

from __future__ import annotations

from typing import ClassVar

from espalier.losses import Term, bradley_terry
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch
from espalier.training.pairing import Paired
from espalier.training.recipe import Frozen, report


class Reward(Paired):
    """A scalar at the end of a response, trained so that the chosen stands above the rejected."""

    key: ClassVar[str] = "reward"
    head: ClassVar = "reward"
    saves: ClassVar = "reward"

    @property
    def needs_logprobs(self) -> bool:
        return False

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        return self.paired(packed)

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert batch.pairs is not None
        reward = outputs.heads["reward"][batch.packed.last[batch.packed.leaves]]
        chosen, rejected = reward[batch.pairs[0]], reward[batch.pairs[1]]
        return {
            "bradley_terry": Term(bradley_terry(chosen, rejected), "pair"),
            "pair_accuracy": report((chosen > rejected).float(), "pair"),
            "margin": report(chosen - rejected, "pair"),
        }
