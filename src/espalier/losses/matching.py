"""Supervised fine-tuning as matching of distributions: `min D_f(policy || expert) + beta * KL(policy || reference)`.

By duality the best policy has the implicit reward `r = beta * log(policy / reference) + offset`, and the loss of an
expert's response is `offset - utility(r)`, with a concave utility for each divergence (`utility(r) = -f*(-r)` for the
conjugate f* of f). With total variation's utility, r itself, the reference drops out of the loss and what is left is
the likelihood: the KL term holds nothing back. With the others it does. Wang et al. 2025 (arXiv 2507.00018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Responses: TypeAlias = Float[Tensor, "responses"]
Utility: TypeAlias = Callable[[Responses], Responses]
"""What an expert's response is worth at an implicit reward."""


def f_sft(
    logratio: Responses, beta: float, utility: Utility, offset: float | Float[Tensor, "#responses"] = 0.0
) -> Responses:
    """The loss of a response that an expert wrote, in units of reward.

    Args:
        logratio: log policy minus log reference of the response, in nats.
        beta: the strength of the penalty for leaving the reference, reward per nat.
        utility: `linear` (plain supervised fine-tuning), `pearson` or `hellinger`.
        offset: the soft value of each prompt, learned with the policy (the loss goes down in both). `linear` has none.
    """
    return offset - utility(beta * logratio + offset)


def linear(reward: Responses) -> Responses:
    """Of total variation, within its bounds: f_sft is then `-beta * logratio`, the likelihood."""
    return reward


def pearson(reward: Responses) -> Responses:
    """`r - r^2 / 4`, of Pearson's chi-square `f(u) = (u - 1)^2`: highest at a reward of 2, it falls beyond."""
    return reward - reward.square() / 4


def hellinger(reward: Responses) -> Responses:
    """`r / (1 + r)`, of the squared Hellinger distance, `f(u) = (sqrt(u) - 1)^2`: below 1, minus infinity at -1."""
    possible = reward > -1
    return torch.where(possible, reward / (1 + torch.where(possible, reward, 0.0)), -torch.inf)
