"""What can be said about laws over strings without a sample: divergences, entropy, expectations, win rates.

A law is a tensor of log-probs over its last axis; whatever stands before (prompts, mostly) is kept.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def expectation(
    law: Float[Tensor, "*prompts strings"], values: Float[Tensor, "*prompts strings"]
) -> Float[Tensor, "*prompts"]:
    """The mean of `values` under the law. A string of probability 0 adds nothing, whatever its value."""
    return torch.where(law > -torch.inf, law.exp() * values, 0.0).sum(-1)


def kl(law: Float[Tensor, "*prompts strings"], other: Float[Tensor, "*prompts strings"]) -> Float[Tensor, "*prompts"]:
    """KL(law || other) in nats, exact; infinite where `other` rules out what `law` does not."""
    possible = law > -torch.inf
    difference = torch.where(possible, law, 0.0) - torch.where(possible, other, 0.0)
    return (torch.where(possible, law, -torch.inf).exp() * difference).sum(-1)


def entropy(law: Float[Tensor, "*prompts strings"]) -> Float[Tensor, "*prompts"]:
    """The Shannon entropy over strings, in nats."""
    return -expectation(law, torch.where(law > -torch.inf, law, 0.0))


def total_variation(
    law: Float[Tensor, "*prompts strings"], other: Float[Tensor, "*prompts strings"]
) -> Float[Tensor, "*prompts"]:
    """The greatest difference of the two laws on any set of strings: half the sum of absolute differences; 0 to 1."""
    return (law.exp() - other.exp()).abs().sum(-1) / 2


def win_rate(
    law: Float[Tensor, "*prompts strings"],
    other: Float[Tensor, "*prompts strings"],
    preference: Float[Tensor, "*prompts strings strings"],
) -> Float[Tensor, "*prompts"]:
    """The chance that a string of `law` is preferred to one of `other`, where row beats column with `preference`."""
    return torch.einsum("...i,...ij,...j->...", law.exp(), preference, other.exp())
