"""A Q-function that starts as a language model: B-Coder's dueling head, conservative backup and recovered rewards.

Yu et al. 2023 (arXiv 2310.03173). The advantage is the model's own logits, scaled and shifted so that the best token's
is 0, and a value head says how good the state is; so the greedy policy of the Q-function is at first the model's. The
backup asks for the value of the *pre-trained* model's greedy token and not for the maximum over a vocabulary of
untrained estimates: what is learned is the value of improving this step and going on as before.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def dueling(
    logits: Float[Tensor, "*items tokens"], values: Float[Tensor, "*items"], scale: float | Float[Tensor, ""] = 1.0
) -> Float[Tensor, "*items tokens"]:
    """`Q(s, a) = V(s) + scale * (logits(a) - max logits)`: its maximum over tokens is V.

    Args:
        logits: of the model that is being trained.
        values: of a value head, in units of the reward.
        scale: reward per unit of logit.
    """
    return values[..., None] + scale * (logits - logits.amax(-1, keepdim=True))


@torch.no_grad()
def conservative_backup(
    rewards: Float[Tensor, "*items"],
    next_q: Float[Tensor, "*items tokens"],
    next_greedy: Int[Tensor, "*items"],
    ended: Float[Tensor, "*items"],
    gamma: float = 1.0,
) -> Float[Tensor, "*items"]:
    """The target `r + gamma * Q(s', a')` with a' the greedy token of the fixed pre-trained model; a constant.

    Args:
        rewards: after the action.
        next_q: of the state that the action leads to.
        next_greedy: the token that the pre-trained model finds likeliest there.
        ended: 1 where the action ended the response, so that nothing comes after it.
    """
    ahead = next_q.gather(-1, next_greedy[..., None])[..., 0]
    return rewards + gamma * torch.where(ended > 0, 0.0, ahead)


def recovered_rewards(
    q: Float[Tensor, "*items"], next_values: Float[Tensor, "*items"], gamma: float = 1.0
) -> Float[Tensor, "*items"]:
    """The reward that a Q-function stands for, `Q(s, a) - gamma * V(s')`; summed over a program, it ranks programs.

    Args:
        q: of the actions taken.
        next_values: of the states that they led to; 0 after the last.
    """
    return q - gamma * next_values
