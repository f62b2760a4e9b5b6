"""More than two responses to a prompt, ranked: one value a list."""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from espalier.losses.preference.core import hinge

Lists: TypeAlias = Float[Tensor, "lists items"]
Present: TypeAlias = Bool[Tensor, "lists items"]


def plackett_luce(scores: Lists, present: Present) -> Float[Tensor, "lists"]:
    """The negative log-likelihood of a ranking when the best is chosen, again and again, by a softmax of scores.

    Plackett 1975, Luce 1959; with `scores = beta * logratio` it is DPO for rankings, Rafailov et al. 2023 (arXiv
    2305.18290), appendix A.3. Two items give DPO. In nats a list.

    Args:
        scores: of the items, the best first.
        present: false where a list is shorter; nothing is read there. Absent items come last.
    """
    scores = scores.masked_fill(~present, torch.finfo(scores.dtype).min / 2)
    remaining = scores.flip(-1).logcumsumexp(-1).flip(-1)
    return torch.where(present, remaining - scores, 0.0).sum(-1)


def rrhf(mean_logprob: Lists, logprob: Lists, reward: Lists, present: Present) -> Float[Tensor, "lists"]:
    """RRHF: for every two responses, a hinge at 0 on log-probs a token, plus the best one's negative log-likelihood.

    Yuan et al. 2023 (arXiv 2304.05302). Equal rewards are not compared.

    Args:
        mean_logprob: the policy's log-prob of each response, a token.
        logprob: the same, summed; read for the best response of each list.
        reward: of each response, the higher the better.
        present: false where a list is shorter; nothing is read there.
    """
    both = present[:, :, None] & present[:, None, :]
    better = both & (reward[:, :, None] > reward[:, None, :])
    lost = hinge(mean_logprob[:, :, None] - mean_logprob[:, None, :], at=0.0)
    best = reward.masked_fill(~present, -torch.inf).argmax(-1, keepdim=True)
    return torch.where(better, lost, 0.0).sum((-1, -2)) - logprob.gather(-1, best)[:, 0]
