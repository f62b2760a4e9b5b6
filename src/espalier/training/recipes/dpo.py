"""Preference optimisation on pairs: DPO (Rafailov et al. 2023, eq. 7), or any other loss of `PAIRWISE` by name."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator

from espalier.losses import Term
from espalier.losses.preference import named, settings, tensors
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch
from espalier.training.pairing import Paired
from espalier.training.recipe import Frozen, report


class DPO(Paired):
    """Raise the chosen response against the rejected one, measured from the reference policy if the loss has one."""

    key: ClassVar[str] = "dpo"
    loss: str = Field("dpo", description="dpo, ipo, simpo, orpo, ...: see docs/losses.md")
    beta: float = Field(0.1, gt=0, description="how closely to stay at the reference")
    settings: dict[str, float] = Field({}, description="the loss's other numbers, such as gamma or noise")
    reference: str | None = Field(
        None, description="stream of the forest with the reference's log-probs; the starting policy's by default"
    )

    @model_validator(mode="after")
    def _loss_and_its_settings(self) -> Self:
        named(self.loss, dict.fromkeys(tensors(self.loss), torch.tensor([-1.0])), self._values)
        return self

    @property
    def _values(self) -> dict[str, float]:
        return ({"beta": self.beta} if "beta" in settings(self.loss) else {}) | self.settings

    @property
    def needs_reference(self) -> bool:
        return any(tensor.endswith("logratio") for tensor in tensors(self.loss))

    @property
    def stored_reference(self) -> str | None:
        return self.reference if self.needs_reference else None

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        batch = self.paired(packed)
        if self.needs_reference:
            batch.streams["reference"] = packed.leaf_sums(frozen.reference(packed))
        return batch

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        assert batch.pairs is not None
        logprob = batch.packed.leaf_sums(outputs.logprobs)
        tokens = batch.packed.leaf_sums(torch.ones_like(outputs.logprobs))
        values = {"logprob": logprob, "mean_logprob": logprob / tokens, "tokens": tokens}
        if self.needs_reference:
            values["logratio"] = logprob - batch.streams["reference"]
        sides = dict(zip(("chosen", "rejected"), batch.pairs, strict=True))
        pairs = {f"{side}_{what}": value[at] for side, at in sides.items() for what, value in values.items()}
        score = "logratio" if self.needs_reference else "mean_logprob"
        chosen, rejected = pairs[f"chosen_{score}"], pairs[f"rejected_{score}"]
        return {
            "dpo": Term(named(self.loss, pairs, self._values), "pair"),
            "pair_accuracy": report((chosen > rejected).float(), "pair"),
            "margin": report(chosen - rejected, "pair"),
            f"chosen_{score}": report(chosen, "pair"),
            f"rejected_{score}": report(rejected, "pair"),
        }
