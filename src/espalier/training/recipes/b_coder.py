"""B-Coder: a Q-function that starts as the language model, from stored programs and their tests (Yu et al. 2023).

arXiv 2310.03173, equation 17. `Q(s, a) = V(s) + scale * (logit(a) - max logit)`: the model's own logits are the
advantages, a head is the value, and to sample from the model is to sample from softmax(Q / scale). Three losses: the
temporal difference of one step, backed up over what the *pre-trained* model would write next (15); that no token be
above a right one (8); and the likelihood of right ones (1). Any stored response serves, whoever wrote it.

The paper trains the value first, on the model as it is: that is `critic`, here from outcomes, and its head is taken
over; a fresh head is 0. Left out: a frozen copy of that head beside the trained one, the bound on Q at the greatest
reward, and a fixed share of human programs (the paper takes half) in each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from espalier.losses import Term, conservative_backup, dueling, mse, nll
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_scores, paths, with_outcomes
from espalier.training.recipe import Frozen, Recipe
from espalier.trees import Forest

Targets = Float[Tensor, "targets"]


class BCoder(Recipe):
    """Make the logits say how much better a token is than another, by the outcomes of stored responses."""

    key: ClassVar[str] = "b-coder"
    head: ClassVar = "value"
    top: ClassVar[int] = 1
    greedy: ClassVar[bool] = True
    by: str = Field("label", description="the score of a response that is its reward")
    right: float = Field(1.0, description="least reward of a response whose tokens are right; the paper takes humans'")
    scale: float = Field(1.0, gt=0, description="reward per unit of logit")
    gamma: float = Field(0.999, gt=0, le=1)
    advantage_scale: float = Field(0.1, ge=0, description="weight of the loss that right tokens be the best")
    likelihood_scale: float = Field(0.5, ge=0, description="weight of the likelihood of right tokens")

    @property
    def needs_reference(self) -> bool:
        return True

    def select(self, forest: Forest) -> Forest:
        return with_outcomes(forest, self.by)

    def q(self, outputs: Outputs, packed: Packed) -> tuple[Targets, Targets]:
        """Q of the tokens that the outputs' log-probs are of, and V, at every target."""
        assert outputs.logprobs is not None
        assert outputs.top is not None
        values = outputs.value("value")[packed.predictors]
        choice = torch.stack([outputs.logprobs, outputs.top[0][:, 0]], -1)  # log-probs differ as logits do
        return dueling(choice, values, self.scale)[:, 0], values

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        outcome, known = leaf_scores(packed, self.by)
        where = paths(packed)
        pretrained = frozen.reference(packed).long()
        ahead, _ = self.q(frozen.forward(packed, heads=("value",), top=1, tokens=pretrained), packed)
        last = torch.arange(where.index.shape[1])[None] == where.lengths[:, None] - 1
        one = torch.zeros_like(where.index)
        backed_up = conservative_backup(
            last * outcome[:, None], ahead[where.index].roll(-1, 1)[..., None], one, last.float(), self.gamma
        )
        targets, weights = where.spread(backed_up, known.float(), len(packed.targets))
        right = known & (outcome >= self.right)
        _, counted = where.spread(backed_up, right.float(), len(packed.targets))
        return Batch(packed, {"token": weights}, {"targets": targets, "right": counted})

    def settle(self, batches: Sequence[Batch]) -> None:
        """Scale the right tokens' share of each target such that what is theirs becomes a mean over them."""
        weights = torch.cat([batch.weights["token"] for batch in batches]).double()
        right = torch.cat([batch.streams["right"] for batch in batches]).double()
        factor = weights.sum() / right.sum().clamp_min(1e-300)
        for batch in batches:
            share = batch.streams["right"].double() / batch.weights["token"].double().clamp_min(1e-300)
            batch.streams["right"] = (factor * share).float()

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        q, values = self.q(outputs, batch.packed)
        right = batch.streams["right"]
        return {
            "td_error": Term(mse(q, batch.streams["targets"]), "token"),
            "regret": Term(right * (values - q), "token", self.advantage_scale),
            "right_nll": Term(right * nll(outputs.logprobs), "token", self.likelihood_scale),
        }
