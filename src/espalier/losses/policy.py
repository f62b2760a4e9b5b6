"""Policy gradients: make what turned out well more likely.

The algorithms differ mostly in their advantages (`espalier.losses.advantages`), hardly in their loss: PPO and GRPO are
`ppo_clip` with the advantages of a value model and of a group; RLOO is `reinforce` with leave-one-out advantages. What
is left out here: the KL penalty (a term of its own, or part of the reward; see `espalier.losses.divergences`), and
every choice of the denominator (the batch's weights).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def reinforce(logprobs: Float[Tensor, "items"], advantages: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """The score-function loss `-advantage * log-prob`, right for samples of the very policy that is being trained.

    Williams 1992. With leave-one-out advantages and a response as the item it is RLOO: Ahmadian et al. 2024
    (arXiv 2402.14740), after Kool et al. 2019. Its value means nothing; its gradient is the policy gradient.

    Args:
        logprobs: of each token, or summed over a response.
        advantages: constants; no gradient flows into them.
    """
    return -advantages.detach() * logprobs


def ppo_clip(
    logprobs: Float[Tensor, "tokens"],
    old_logprobs: Float[Tensor, "tokens"],
    advantages: Float[Tensor, "tokens"],
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Float[Tensor, "tokens"]:
    """PPO's clipped surrogate, negated: `-min(ratio * A, clip(ratio, 1 - clip_low, 1 + clip_high) * A)`.

    Schulman et al. 2017 (arXiv 1707.06347), equation 7. GRPO, Shao et al. 2024 (arXiv 2402.03300), equation 3, takes
    the same with the group's advantage on each token; `clip_high > clip_low` is the clip-higher of DAPO, Yu et al. 2025
    (arXiv 2503.14476), equation 8.

    Args:
        logprobs: under the policy that is being trained.
        old_logprobs: under the policy that sampled, at the same temperature; constants.
        advantages: constants.
        clip_low: the ratio's gradient stops below 1 - clip_low where the advantage is negative.
        clip_high: and above 1 + clip_high where it is positive.
    """
    ratio = (logprobs - old_logprobs.detach()).exp()
    advantages = advantages.detach()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)


def clipped(
    logprobs: Float[Tensor, "tokens"],
    old_logprobs: Float[Tensor, "tokens"],
    advantages: Float[Tensor, "tokens"],
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Bool[Tensor, "tokens"]:
    """Where `ppo_clip` has stopped the gradient; the mean over tokens is the clip fraction.

    Large (above about 0.3): the policy has moved further from its samples than they can tell it about.
    """
    ratio = (logprobs - old_logprobs).exp()
    return ((advantages > 0) & (ratio > 1 + clip_high)) | ((advantages < 0) & (ratio < 1 - clip_low))
