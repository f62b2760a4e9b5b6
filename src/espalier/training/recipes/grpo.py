"""Group-relative policy optimisation (Shao et al. 2024, eq. 3), and RLOO (Ahmadian et al. 2024) by its advantage.

Left out of the paper's form on purpose: the mean over each response (`per="token"` is the default, as in DAPO, Yu et
al. 2025: long wrong answers are not let off), and the KL term unless `beta` asks for it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from espalier.losses import Term, clipped, group, k3, leave_one_out, ppo_clip
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, Paths, leaf_scores, paths
from espalier.training.recipe import Frozen, Online, report
from espalier.training.rollout import group_index, sampled_logprobs


class GRPO(Online):
    """Raise what is better than the other answers to the same prompt."""

    key: ClassVar[str] = "grpo"
    entropy: ClassVar[bool] = True
    advantage: Literal["group", "centred", "leave_one_out"] = Field(
        "group", description="group: (r - mean) / std; centred: r - mean (Dr. GRPO); leave_one_out: RLOO"
    )
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0, description="above clip_low: DAPO's clip-higher")
    beta: float = Field(0.0, ge=0, description="weight of the KL to the reference")
    per: Literal["token", "response"] = Field("token", description="what counts the same")

    @property
    def needs_reference(self) -> bool:
        return self.beta > 0

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        rewards, known = leaf_scores(packed, "reward")
        groups = group_index(packed)
        if self.advantage == "leave_one_out":
            advantages, counted = leave_one_out(rewards, groups, known)
        else:
            advantages, counted = group(rewards, groups, known, standardise=self.advantage == "group")
        where = paths(packed)
        tokens, weights = where.spread(
            advantages[:, None].expand(where.index.shape), counted.float(), len(packed.targets)
        )
        batch = Batch(packed, {"token": weights, "response": counted.float()})
        batch.streams |= {"advantages": tokens, "sampled": sampled_logprobs(packed)}
        batch.streams |= {"index": where.index, "mask": where.mask}
        if self.needs_reference:
            batch.streams["reference"] = frozen.reference(packed)
        return batch

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        assert outputs.entropy is not None
        logprobs, sampled = outputs.logprobs, batch.streams["sampled"]
        surrogate = (logprobs, sampled, batch.streams["advantages"], self.clip_low, self.clip_high)
        terms = {
            "policy": self._per(ppo_clip(*surrogate), batch),
            "clip_fraction": report(clipped(*surrogate).float(), "token"),
            "approx_kl": report(k3(sampled, logprobs), "token"),
            "entropy": report(outputs.entropy, "token"),
        }
        if self.needs_reference:
            terms["kl"] = self._per(k3(logprobs, batch.streams["reference"]), batch, self.beta)
        return terms

    def _per(self, values: Float[Tensor, "targets"], batch: Batch, scale: float = 1.0) -> Term:
        """A token stream as a term of tokens, or of responses that each count the same however long."""
        if self.per == "token":
            return Term(values, "token", scale)
        return Term(Paths(batch.streams["index"], batch.streams["mask"]).mean(values), "response", scale)
