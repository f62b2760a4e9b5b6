"""Preference optimisation on pairs: DPO (Rafailov et al. 2023, eq. 7), or any other loss of `PAIRWISE` by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from espalier.losses import Term, k2
from espalier.losses.preference import named, settings, tensors
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_nodes
from espalier.training.diagnostics import label_agreement, of_pairs, unseen, unseen_logprob
from espalier.training.pairing import Paired
from espalier.training.recipe import Frozen, report
from espalier.trees import Tree

POLICIES = ("start", "average", "refresh", "none")
"""What `reference` may be beside a stream of the forest."""


class DPO(Paired):
    """Raise the chosen response against the rejected one, measured from the reference policy if the loss has one.

    The reference is one setting: "start", the policy that training starts from (with an adapter, the model with it
    switched off); "average", a moving average of the policy; "refresh", the policy as it was a while ago, which makes
    it iterative DPO; "none", log-probs in the place of log-ratios; or a stream of log-probs that the forest carries.
    """

    key: ClassVar[str] = "dpo"
    top: ClassVar[int] = 1
    loss: str = Field("dpo", description="dpo, ipo, simpo, orpo, ...: see docs/losses.md")
    beta: float = Field(0.1, gt=0, description="how closely to stay at the reference")
    settings: dict[str, float] = Field({}, description="the loss's other numbers, such as gamma or noise")
    reference: str = Field("start", description="start, average, refresh, none, or a stream of the forest")
    rate: float = Field(0.01, gt=0, le=1, description="average: how far the reference goes to the policy at each step")
    every: int = Field(100, ge=1, description="refresh: after how many steps the reference is the policy again")
    agreement: float | None = Field(
        None, gt=0.5, le=1, description="share of raters who prefer the chosen response, where the labels do not say it"
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
        return self.reference != "none" and any(tensor.endswith("logratio") for tensor in tensors(self.loss))

    @property
    def stored_reference(self) -> str | None:
        return self.reference if self.needs_reference and self.reference not in POLICIES else None

    @property
    def follows(self) -> tuple[float, int] | None:
        return {"average": (self.rate, 1), "refresh": (1.0, self.every)}.get(self.reference)

    def observe(
        self, trees: Sequence[Tree], frozen: Frozen, packs: Callable[[Sequence[Tree]], Iterable[Packed]]
    ) -> dict[str, float]:
        return unseen_logprob(unseen(trees, self.by, self.least_margin), frozen, packs)

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        batch = self.paired(packed)
        assert batch.pairs is not None
        leaves = leaf_nodes(packed)
        chosen, rejected = ([leaves[i] for i in side.tolist()] for side in batch.pairs)
        shares = label_agreement(chosen, rejected, self.by)
        batch.streams["agreement"] = shares if self.agreement is None else torch.full_like(shares, self.agreement)
        if self.needs_reference:
            batch.streams["reference"] = self.reference_logprobs(packed, frozen)
        return batch

    def reference_logprobs(self, packed: Packed, frozen: Frozen) -> Float[Tensor, "targets"]:
        """Of each target, under the reference."""
        return frozen.reference(packed)

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        assert outputs.top is not None
        assert batch.pairs is not None
        sums = batch.packed.leaf_sums
        logprob, tokens = sums(outputs.logprobs), sums(torch.ones_like(outputs.logprobs))
        values = {"logprob": logprob, "mean_logprob": logprob / tokens, "tokens": tokens}
        values["best"] = sums(outputs.top[0][:, 0].detach())
        if self.needs_reference:
            reference = batch.streams["reference"]
            values["logratio"] = logprob - sums(reference)
            values["squares"] = 2 * sums(k2(outputs.logprobs.detach(), reference))
        sides = dict(zip(("chosen", "rejected"), batch.pairs, strict=True))
        pairs = {f"{side}_{what}": value[at] for side, at in sides.items() for what, value in values.items()}
        score = "logratio" if self.needs_reference else "mean_logprob"
        chosen, rejected = pairs[f"chosen_{score}"], pairs[f"rejected_{score}"]
        instead = {f"{side}_logratio": logprob[at] for side, at in sides.items()}  # where there is no reference
        return {
            "dpo": Term(named(self.loss, instead | pairs, self._values), "pair"),
            "pair_accuracy": report((chosen > rejected).float(), "pair"),
            "margin": report(chosen - rejected, "pair"),
            **of_pairs(pairs, batch.streams["agreement"], self._values.get("beta")),
        }
