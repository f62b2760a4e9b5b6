"""Process rewards made safe to maximise: no trajectory is paid for being long.

Gao et al. 2024, "On Designing Effective RL Reward at Training Time for LLM Reasoning" (arXiv 2410.15115), section 4.
Raw process rewards added up pay a policy for correct steps that nobody needs; both operators bound the sum.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Steps = Float[Tensor, "responses steps"]
Mask = Bool[Tensor, "responses steps"]


def clip(scores: Steps, mask: Mask, threshold: float) -> Steps:
    """`min(score - threshold, 0)`: good steps earn nothing, bad ones cost."""
    return torch.where(mask, (scores - threshold).clamp(max=0), 0.0)


def delta(scores: Steps, mask: Mask) -> Steps:
    """`score[k] - score[k + 1]`, the last but one its own score, the last nothing: it ends with the outcome's reward.

    So the process rewards from step k on add up to `score[k]`, however many steps there are. Steps stand together at
    the left of each row.
    """
    nothing = torch.zeros_like(mask[..., :1])
    inner = mask & torch.cat([mask[..., 1:], nothing], -1)  # a step comes after this one
    kept = torch.where(inner, scores, 0.0)
    return kept - torch.cat([kept[..., 1:], torch.zeros_like(kept[..., :1])], -1)
