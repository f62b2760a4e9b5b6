"""Earlier tool calls, asked for in the advantage and not in the reward.

ASPO, Lin & Xu 2025, "Understanding Tool-Integrated Reasoning" (arXiv 2508.19201), section 3.3. A bonus in the reward is
standardised with it: in a group whose responses are all right it becomes the whole signal. Here it is added to what a
group's advantage says, to right responses only, and is at most a share of it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@torch.no_grad()
def early_calls(
    advantages: Float[Tensor, "responses"],
    position: Float[Tensor, "responses"],
    length: Float[Tensor, "responses"],
    groups: Int[Tensor, "responses"],
    right: Bool[Tensor, "responses"],
    strength: float = 2.0,
    share: float = 0.5,
) -> Float[Tensor, "responses"]:
    """`A + clip(strength * (mean(position) - position) / mean(length), -share * A, share * A)` for right responses.

    The means are over a group's right responses that call a tool; all other responses keep their advantage.

    Args:
        advantages: of the group, such as `group(...)` gives.
        position: of the first call, in tokens; infinite where there is none.
        length: of the response, in tokens.
        groups: a number for each response, the same for all responses to a prompt.
        right: which responses are right.
        strength: how much an earlier call is worth.
        share: the most that is added or taken, as a share of the advantage.
    """
    counted = right & position.isfinite()
    shaped = advantages.clone()
    for number in groups[counted].unique():
        mine = counted & (groups == number)
        early = strength * (position[mine].mean() - position[mine]) / length[mine].mean()
        most = share * advantages[mine].abs()
        shaped[mine] += early.clamp(-most, most)
    return shaped
