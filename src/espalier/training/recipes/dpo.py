"""Direct preference optimisation (Rafailov et al. 2023, eq. 7)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from espalier.losses import Term, dpo
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch
from espalier.training.pairing import Paired
from espalier.training.recipe import Frozen, report


class DPO(Paired):
    """Raise the chosen response against the rejected one, measured from the reference policy."""

    key: ClassVar[str] = "dpo"
    beta: float = Field(0.1, gt=0, description="how closely to stay at the reference")
    reference: str | None = Field(
        None, description="stream of the forest with the reference's log-probs; the starting policy's by default"
    )

    @property
    def needs_reference(self) -> bool:
        return True

    @property
    def stored_reference(self) -> str | None:
        return self.reference

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        batch = self.paired(packed)
        batch.streams["reference"] = packed.leaf_sums(frozen.reference(packed))
        return batch

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        assert batch.pairs is not None
        logratio = batch.packed.leaf_sums(outputs.logprobs) - batch.streams["reference"]
        chosen, rejected = logratio[batch.pairs[0]], logratio[batch.pairs[1]]
        return {
            "dpo": Term(dpo(chosen, rejected, self.beta), "pair"),
            "pair_accuracy": report((chosen > rejected).float(), "pair"),
            "margin": report(chosen - rejected, "pair"),
            "chosen_logratio": report(chosen, "pair"),
            "rejected_logratio": report(rejected, "pair"),
        }
