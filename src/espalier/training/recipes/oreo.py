"""OREO: policy and value model from logged responses with outcomes, no pairs (Wang et al. 2024, arXiv 2412.16145).

The KL to the reference beside the policy's loss is, in the paper, that of the whole next-token distribution. Here it is
that of the choice between the token that was written and any other, which is never more, and which the log-probs of the
responses tell. Left out: the paper's losses over steps and whole responses.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from espalier.losses import Term, kl_of_choice, oreo
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_scores, paths, with_outcomes
from espalier.training.recipe import Frozen, Recipe
from espalier.trees import Forest


class OREO(Recipe):
    """Make policy and value agree with every logged outcome, token by token; the value can steer search afterwards."""

    key: ClassVar[str] = "oreo"
    head: ClassVar = "value"
    by: str = Field("label", description="the score of a response that is its reward")
    beta: float = Field(0.03, gt=0, description="how closely to stay at the reference: reward per nat")
    alpha: float = Field(0.01, ge=0, description="weight of the KL to the reference")
    value_scale: float = Field(1.0, gt=0, description="weight of the value model's loss")

    @property
    def needs_reference(self) -> bool:
        return True

    def select(self, forest: Forest) -> Forest:
        return with_outcomes(forest, self.by)

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        outcome, known = leaf_scores(packed, self.by)
        where = paths(packed)
        filled, rewards = where.lengths > 0, torch.zeros(where.index.shape)
        rewards[filled, where.lengths[filled].long() - 1] = outcome[filled]
        weights = (where.mask & known[:, None]).float().flatten()
        streams = {"index": where.index, "mask": where.mask, "rewards": rewards, "reference": frozen.reference(packed)}
        return Batch(packed, {"token": weights}, streams)

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        index, mask, rewards = (batch.streams[name] for name in ("index", "mask", "rewards"))
        values = outputs.value("value")[batch.packed.predictors]
        reference = batch.streams["reference"]
        logratios = outputs.logprobs - reference
        found = oreo(values[index], logratios[index], rewards, mask, self.beta)
        divergence = kl_of_choice(outputs.logprobs, reference)[index]
        return {
            "oreo_policy": Term(found.policy.flatten(), "token"),
            "oreo_value": Term(found.value.flatten(), "token", self.value_scale),
            "oreo_kl": Term(torch.where(mask, divergence, 0.0).flatten(), "token", self.alpha),
        }
