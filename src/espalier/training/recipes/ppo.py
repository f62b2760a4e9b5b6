"""Proximal policy optimisation with a value head (Schulman et al. 2017, eq. 7 and 9; advantages: GAE, 2016, eq. 16).

The reward comes at the last token of a response; with `beta` a penalty of beta * log(pi_old / ref) is paid at every
token (Ouyang et al. 2022). The critic's value of a state is read where its next token is predicted. For long responses:
a lambda of its own for the critic (VC-PPO) and one that grows with the length (VAPO); see `espalier.losses.advantages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import Field

from espalier.losses import Term, clipped, clipped_mse, decoupled_gae, k1, k3, length_adaptive, ppo_clip
from espalier.models import Outputs, Packed
from espalier.training.batch import Batch, leaf_scores, paths
from espalier.training.recipe import Frozen, Online, report
from espalier.training.rollout import sampled_logprobs


class PPO(Online):
    """Policy and critic on one trunk; credit by generalised advantage estimation."""

    key: ClassVar[str] = "ppo"
    head: ClassVar = "value"
    entropy: ClassVar[bool] = True
    gamma: float = Field(1.0, gt=0, le=1)
    lam: float = Field(0.95, ge=0, le=1, description="1: Monte-Carlo returns; 0: one-step temporal differences")
    critic_lam: float | None = Field(None, ge=0, le=1, description="for the critic's returns; lam's by default")
    alpha: float | None = Field(None, gt=0, description="lam = 1 - 1 / (alpha * length) for each response, not lam")
    clip_low: float = Field(0.2, gt=0, lt=1)
    clip_high: float = Field(0.2, gt=0)
    value_clip: float = Field(0.2, gt=0)
    value_scale: float = Field(0.5, gt=0, description="weight of the critic's loss")
    beta: float = Field(0.0, ge=0, description="weight of the KL penalty in the reward")

    @property
    def needs_reference(self) -> bool:
        return self.beta > 0

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        outcome, known = leaf_scores(packed, "reward")
        where = paths(packed)
        sampled = sampled_logprobs(packed)
        values = frozen.forward(packed, logprobs=False, heads=("value",)).value("value")[packed.predictors]
        rewards = torch.zeros(where.index.shape)
        if self.needs_reference:
            rewards -= self.beta * k1(sampled, frozen.reference(packed))[where.index]
        filled = where.lengths > 0
        rewards[filled, where.lengths[filled].long() - 1] += outcome[filled]
        lam = self.lam if self.alpha is None else length_adaptive(where.lengths, self.alpha)
        of_critic = self.lam if self.critic_lam is None else self.critic_lam
        advantages, returns = decoupled_gae(rewards, values[where.index], where.mask, self.gamma, lam, of_critic)
        tokens, weights = where.spread(advantages, known.float(), len(packed.targets))
        batch = Batch(packed, {"token": weights})
        batch.streams = {"advantages": tokens, "sampled": sampled, "values": values}
        batch.streams["returns"], _ = where.spread(returns, known.float(), len(packed.targets))
        return batch

    def settle(self, batches: Sequence[Batch]) -> None:
        """Normalise the advantages over all tokens of the step."""
        weights = torch.cat([batch.weights["token"] for batch in batches]).double()
        advantages = torch.cat([batch.streams["advantages"] for batch in batches]).double()
        mean = (weights * advantages).sum() / weights.sum()
        std = ((weights * (advantages - mean) ** 2).sum() / weights.sum()).sqrt()
        for batch in batches:
            batch.streams["advantages"] = ((batch.streams["advantages"] - mean) / (std + 1e-8)).float()

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        assert outputs.logprobs is not None
        assert outputs.entropy is not None
        sampled, old = batch.streams["sampled"], batch.streams["values"]
        surrogate = (outputs.logprobs, sampled, batch.streams["advantages"], self.clip_low, self.clip_high)
        value = outputs.value("value")[batch.packed.predictors]
        return {
            "policy": Term(ppo_clip(*surrogate), "token"),
            "value_loss": Term(
                clipped_mse(value, old, batch.streams["returns"], self.value_clip), "token", self.value_scale
            ),
            "clip_fraction": report(clipped(*surrogate).float(), "token"),
            "approx_kl": report(k3(sampled, outputs.logprobs), "token"),
            "entropy": report(outputs.entropy, "token"),
        }
