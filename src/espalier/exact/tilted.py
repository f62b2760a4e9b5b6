"""The optimum of KL-regularised reinforcement learning: the reference, tilted by the reward.

The policy that maximises `E[r] - beta * KL(policy || reference)` is `reference * exp(r / beta) / Z`, and the maximum is
`beta * log Z` (Levine 2018, arXiv 1805.00909, section 2; Rafailov et al. 2023, arXiv 2305.18290, equation 4). Token by
token the same policy is `reference * exp(advantage / beta)` for the soft values that backward induction finds, with
which a language model is read as a Q-function (Rafailov et al. 2024, arXiv 2404.12358, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from espalier.exact.language import Language, _branches
from espalier.exact.laws import expectation, kl


def tilted(
    reference: Float[Tensor, "*prompts strings"], reward: Float[Tensor, "*prompts strings"], beta: float
) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of the optimum, `log reference + reward / beta - log Z`."""
    return (reference + reward / beta).log_softmax(-1)


def log_partition(
    reference: Float[Tensor, "*prompts strings"], reward: Float[Tensor, "*prompts strings"], beta: float
) -> Float[Tensor, "*prompts"]:
    """log Z, the log of the mean of `exp(reward / beta)` under the reference."""
    return (reference + reward / beta).logsumexp(-1)


def objective(
    law: Float[Tensor, "*prompts strings"],
    reference: Float[Tensor, "*prompts strings"],
    reward: Float[Tensor, "*prompts strings"],
    beta: float,
) -> Float[Tensor, "*prompts"]:
    """What the optimum maximises: `E[reward] - beta * KL(law || reference)`."""
    return expectation(law, reward) - beta * kl(law, reference)


@dataclass(frozen=True, slots=True)
class SoftValues:
    """The soft Bellman solution, in units of the reward.

    Attributes:
        value: of each prefix, `V = beta * log sum_token reference(token) * exp(Q / beta)`; `value[..., 0]` is the whole
            problem's, `beta * log Z`.
        q: of each token after each prefix: the value of the prefix that it leads to, or the reward of the string that
            it completes.
        advantage: `q - value`; the optimal policy is `reference * exp(advantage / beta)`.
    """

    value: Float[Tensor, "*prompts prefixes"]
    q: Float[Tensor, "*prompts prefixes tokens"]
    advantage: Float[Tensor, "*prompts prefixes tokens"]


def soft_values(
    language: Language,
    following: Float[Tensor, "*prompts prefixes tokens"],
    reward: Float[Tensor, "*prompts strings"],
    beta: float,
) -> SoftValues:
    """Backward induction from the strings' rewards.

    Args:
        following: the reference's next-token log-probs.
        beta: the strength of the KL penalty; `torch.inf` gives the reference's own value function (expected reward).
    """
    behind, values, qs = reward[..., language.prefixes - language.first :], [], []
    for level, ending in language.levels(reward):
        q, logprobs = _branches(behind, level, len(language.symbols), ending), following[..., level, :]
        behind = expectation(logprobs, q) if beta == torch.inf else beta * (logprobs + q / beta).logsumexp(-1)
        values.append(behind)
        qs.append(q)
    value, q = torch.cat(values[::-1], -1), torch.cat(qs[::-1], -2)
    return SoftValues(value, q, q - value[..., None])
