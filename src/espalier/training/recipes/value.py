"""Outcome-supervised value models (Yu et al. 2023, "OVM"; Cobbe et al. 2021): after each token, will this succeed?

By regression, or by classification over bins (Farebrother et al. 2024); see `espalier.losses.categorical`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from espalier.errors import TrainingError
from espalier.losses import Support, Term, bce, cross_entropy, hl_gauss, mse, two_hot
from espalier.models import Outputs, Packed
from espalier.models.heads import Link
from espalier.training.batch import Batch, Paths, leaf_scores, paths, with_outcomes
from espalier.training.recipe import Frozen, Recipe
from espalier.trees import Forest


class Value(Recipe):
    """At every token of a response, forecast the response's outcome.

    With `loss="bce"` the outcome lies in [0, 1] and the head's sigmoid is its probability; with "mse" it is any number.
    The others make the head a distribution over bins: "two_hot" and "hl_gauss" learn the outcome at every token, "c51"
    only at the last, and at every other token the model's own forecast at the next one.
    """

    key: ClassVar[str] = "value"
    head: ClassVar = "value"
    saves: ClassVar[Literal["causal", "value", "reward"]] = "value"
    by: str = Field("label", description="the score of a response that is its outcome")
    loss: Literal["bce", "mse", "two_hot", "hl_gauss", "c51"] = "bce"
    low: float = Field(0.0, description="least outcome, for the bins")
    high: float = Field(1.0, description="greatest outcome, for the bins")
    bins: int = Field(51, ge=8, description="three on each side lie beyond low and high")

    @property
    def link(self) -> Link:
        if self.loss in ("bce", "mse"):
            return "probability" if self.loss == "bce" else "real"
        return Support.around(self.low, self.high, self.bins)

    @property
    def needs_logprobs(self) -> bool:
        return False

    def select(self, forest: Forest) -> Forest:
        kept = with_outcomes(forest, self.by)
        outcomes = [value for leaf in kept.leaves() if (value := leaf.value(self.by)) is not None]
        if self.loss == "bce" and not all(0 <= outcome <= 1 for outcome in outcomes):
            raise TrainingError(f"{self.by!r} has values outside [0, 1]; use recipe.loss=mse")
        if isinstance(self.link, Support) and not all(self.low <= outcome <= self.high for outcome in outcomes):
            raise TrainingError(
                f"{self.by!r} has values between {min(outcomes):g} and {max(outcomes):g}; "
                f"set recipe.low and recipe.high, which are {self.low:g} and {self.high:g}"
            )
        return kept

    def places(self, packed: Packed) -> Int[Tensor, "targets"]:
        """Where the forecast for each target is read: at the token itself, once it is written."""
        return packed.targets

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        outcome, known = leaf_scores(packed, self.by)
        where = paths(packed)
        goal = outcome[:, None].expand(where.index.shape)
        if isinstance(self.link, Support):
            goal = (hl_gauss if self.loss == "hl_gauss" else two_hot)(goal, self.link)
        if self.loss == "c51":
            goal = self._bootstrapped(goal, where, packed, frozen)
        targets, weights = where.spread(goal, known.float(), len(packed.targets))
        return Batch(packed, {"token": weights}, {"outcome": targets})

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        if outputs.links["value"] != self.link:
            raise TrainingError(
                f"the model's value head is {outputs.links['value']!r}, recipe.loss={self.loss} needs {self.link!r}"
            )
        head, outcome = outputs.heads["value"][self.places(batch.packed)], batch.streams["outcome"]
        if self.loss == "bce":
            return {"value_bce": Term(bce(head, outcome), "token")}
        if self.loss == "mse":
            return {"value_mse": Term(mse(head, outcome), "token")}
        return {"value_ce": Term(cross_entropy(head, outcome), "token")}

    def _bootstrapped(
        self, outcome: Float[Tensor, "leaves steps bins"], where: Paths, packed: Packed, frozen: Frozen
    ) -> Float[Tensor, "leaves steps bins"]:
        """The forecast at the next token of the response; at its last the outcome (Bellemare et al. 2017)."""
        raw = frozen.forward(packed, logprobs=False, heads=("value",)).heads["value"][self.places(packed)]
        ahead = torch.roll(raw.softmax(-1)[where.index], -1, dims=1)
        steps = torch.arange(where.index.shape[1])
        last = steps[None] >= where.lengths[:, None] - 1
        return torch.where(last[..., None], outcome, ahead)


class Critic(Value):
    """Value pretraining: the head alone learns the returns of a policy that stays as it is, and both are saved.

    VC-PPO, Yuan et al. 2025 (arXiv 2503.01491), section 3.2: PPO then starts with a critic that knows the policy, in
    place of one whose errors the policy would first unlearn its skill to. Train it on the policy's own responses, and
    give the model that comes out to PPO. The forecast is read where PPO reads it: before each token.
    """

    key: ClassVar[str] = "critic"
    saves: ClassVar = "causal"
    detached: ClassVar[bool] = True
    loss: Literal["bce", "mse", "two_hot", "hl_gauss", "c51"] = "mse"

    def places(self, packed: Packed) -> Int[Tensor, "targets"]:
        return packed.predictors
