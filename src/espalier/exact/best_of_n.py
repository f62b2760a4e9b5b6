"""The exact law of best-of-n: draw n strings, keep one of the highest reward, ties broken evenly.

The best of n has reward at most v with probability `F(v)^n`, so the strings of reward v share `F(v)^n - F(v-)^n`, in
proportion to their own probabilities. Without ties its KL from the policy is at most `log n - (n-1)/n`, which is the
value for a continuous law and an upper bound for a discrete one (Beirami et al. 2024, arXiv 2401.01879, theorem 1).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def best_of_n(
    law: Float[Tensor, "*prompts strings"], reward: Float[Tensor, "*prompts strings"], n: int
) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of the best of n; of the worst of n where the reward is negated."""
    probability = law.exp()
    order = reward[..., None, :] - reward[..., :, None]  # [..., this, other]
    below = torch.where(order < 0, probability[..., None, :], 0.0).sum(-1)
    tied = torch.where(order == 0, probability[..., None, :], 0.0).sum(-1)
    above = torch.where(order > 0, probability[..., None, :], 0.0).sum(-1)
    # F^n - F_^n = F^n * (1 - (F_/F)^n), with F = 1 - above where that is exact: nothing is lost when n is large.
    reached = torch.where(above < 0.5, torch.log1p(-above), (below + tied).log())
    share = torch.where(below > 0, below.log() - (below + tied).log(), -torch.inf)
    return law - tied.log() + n * reached + torch.log1p(-torch.exp(n * share))


def kl_bound(n: int) -> float:
    """`log n - (n-1)/n`: the most that best-of-n can move from its policy, in nats."""
    return math.log(n) - (n - 1) / n


def continuous_win_rate(n: int) -> float:
    """`n / (n+1)`: how often best-of-n beats one draw where no two rewards are the same."""
    return n / (n + 1)
