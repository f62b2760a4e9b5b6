"""Every pair of strings with its probability, so that a preference loss is averaged exactly and not sampled.

    pairs = Pairs.all(law, preference)
    loss = pairs.mean(dpo(*pairs.split(policy() - reference), beta=0.5))

A pair is drawn by drawing two strings (independently, from one law or two) and asking which is preferred; both answers
are in the list, each with its probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Pairs:
    """All ordered pairs of different strings, for each prompt.

    Attributes:
        chosen: the number of the preferred string.
        rejected: the number of the other.
        weight: the probability of each; they add up to 1 for each prompt.
    """

    chosen: Int[Tensor, "each"]
    rejected: Int[Tensor, "each"]
    weight: Float[Tensor, "*prompts each"]

    @classmethod
    def all(
        cls,
        law: Float[Tensor, "*prompts strings"],
        preference: Float[Tensor, "*prompts strings strings"],
        other: Float[Tensor, "*prompts strings"] | None = None,
    ) -> Pairs:
        """The pairs of one string of `law` and one of `other` (of `law` too where there is none).

        Two equal strings teach nothing: they are left out, and the rest is scaled to add up to 1. No gradient flows
        into the weights, as none flows into samples.
        """
        first, second = law.exp(), (law if other is None else other).exp()
        chosen, rejected = (~torch.eye(law.shape[-1], dtype=torch.bool)).nonzero(as_tuple=True)
        drawn = first[..., chosen] * second[..., rejected] + first[..., rejected] * second[..., chosen]
        weight = (drawn * preference[..., chosen, rejected]).detach()
        return cls(chosen, rejected, weight / weight.sum(-1, keepdim=True))

    def split(self, values: Float[Tensor, "*prompts strings"]) -> tuple[Float[Tensor, "pairs"], Float[Tensor, "pairs"]]:
        """The values of the chosen and of the rejected strings, flat over prompts, as losses take them."""
        return values[..., self.chosen].flatten(), values[..., self.rejected].flatten()

    def mean(self, losses: Float[Tensor, "pairs"]) -> Float[Tensor, ""]:
        """The expected loss, averaged over prompts."""
        weight = self.weight.flatten()
        return (losses * weight).sum() / weight.sum()
