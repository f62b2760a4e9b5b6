"""Advantages: how much better a response or a token did than was to be expected.

Three answers to "expected by whom": a value model (`gae`), the mean of the response's group (`group`), the mean of the
group's *other* responses (`leave_one_out`). All take a whole rollout, before it is cut into micro-batches, and return
constants: none of them carries a gradient. A missing reward is left out of its group; it is never counted as 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Gae(NamedTuple):
    """Advantages, and the returns (advantage + value) that the value model should learn."""

    advantages: Float[Tensor, "sequences steps"]
    returns: Float[Tensor, "sequences steps"]


class Grouped(NamedTuple):
    """Advantages, and which responses they say something about.

    `counted` is false where the reward is missing or nothing is known to compare it with; the advantage there is 0, and
    the response should have no weight in the loss.
    """

    advantages: Float[Tensor, "responses"]
    counted: Bool[Tensor, "responses"]


@torch.no_grad()
def gae(
    rewards: Float[Tensor, "sequences steps"],
    values: Float[Tensor, "sequences steps"],
    mask: Bool[Tensor, "sequences steps"],
    gamma: float = 1.0,
    lam: float | Float[Tensor, "sequences"] = 0.95,
) -> Gae:
    """Generalised advantage estimation on padded sequences.

    Schulman et al. 2016 (arXiv 1506.02438), equation 16: with `delta[t] = reward[t] + gamma * value[t+1] - value[t]`,
    the advantage is the sum of `(gamma * lam)^l * delta[t+l]`. After a sequence's last step the value is 0.

    Args:
        rewards: what came after each step; for an outcome reward, zeros but for the last step.
        values: of the state *before* each step (for tokens: at the token that predicts this one).
        mask: which steps are the policy's. What is not (padding, a tool's tokens in the middle) is passed over: the
            step before it is followed by the step after it. Nothing is read there, and 0 is returned.
        gamma: the discount a step.
        lam: 0 trusts the value model for all but the next step, 1 only for the start. One number, or one a sequence.
    """
    advantages, returns = torch.zeros_like(values), torch.zeros_like(values)
    next_advantage, next_value = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        advantage = rewards[:, t] + gamma * next_value - values[:, t] + gamma * lam * next_advantage
        here = mask[:, t]
        advantages[:, t] = torch.where(here, advantage, 0.0)
        returns[:, t] = torch.where(here, advantage + values[:, t], 0.0)
        next_advantage = torch.where(here, advantage, next_advantage)
        next_value = torch.where(here, values[:, t], next_value)
    return Gae(advantages, returns)


@torch.no_grad()
def decoupled_gae(
    rewards: Float[Tensor, "sequences steps"],
    values: Float[Tensor, "sequences steps"],
    mask: Bool[Tensor, "sequences steps"],
    gamma: float = 1.0,
    lam: float | Float[Tensor, "sequences"] = 0.95,
    critic_lam: float = 1.0,
) -> Gae:
    """Advantages for the policy under one lambda, returns for the value model under another: VC-PPO's.

    Yuan et al. 2025 (arXiv 2503.01491), section 3.3: a lambda below 1 keeps the policy's variance low, but lets the
    reward at the end of a long response decay on its way to the early tokens' values; 1 gives them the plain return.
    """
    return Gae(gae(rewards, values, mask, gamma, lam).advantages, gae(rewards, values, mask, gamma, critic_lam).returns)


def length_adaptive(lengths: Float[Tensor, "sequences"], alpha: float = 0.05) -> Float[Tensor, "sequences"]:
    """A lambda for each sequence, such that its TD errors reach over the same share of it: `1 - 1 / (alpha * length)`.

    VAPO, Yue et al. 2025 (arXiv 2504.05118), section 4.2. The weights of an infinite sequence's TD errors add up to
    `1 / (1 - lambda) = alpha * length`. Shorter than 1 / alpha steps, it is 0.

    >>> length_adaptive(torch.tensor([10.0, 40.0, 1000.0])).tolist()
    [0.0, 0.5, 0.9800000190734863]
    """
    return (1 - 1 / (alpha * lengths).clamp(min=1e-9)).clamp(min=0)


@torch.no_grad()
def group(
    rewards: Float[Tensor, "responses"],
    groups: Int[Tensor, "responses"],
    known: Bool[Tensor, "responses"],
    *,
    standardise: bool = True,
    eps: float = 1e-6,
) -> Grouped:
    """GRPO's advantage: the reward minus the mean of its group, in standard deviations of its group.

    Shao et al. 2024 (arXiv 2402.03300), section 4.1.2; the standard deviation is the unbiased one (n - 1).

    Args:
        rewards: of each response; not read where unknown.
        groups: a number for each response, the same for all responses to a prompt.
        known: false where the reward is missing.
        standardise: False leaves the standard deviation out, as Dr. GRPO does (Liu et al. 2025, arXiv 2503.20783).
        eps: added to the standard deviation.

    Raises:
        ValueError: a known reward is not finite.
    """
    deviation, counts, index, counted = _centred(rewards, groups, known)
    if standardise:
        variance = torch.bincount(index, deviation.square()) / (counts - 1).clamp(min=1)
        deviation = deviation / (variance.sqrt() + eps)[index]
    return Grouped(deviation.to(rewards.dtype), counted)


@torch.no_grad()
def leave_one_out(
    rewards: Float[Tensor, "responses"], groups: Int[Tensor, "responses"], known: Bool[Tensor, "responses"]
) -> Grouped:
    """RLOO's advantage: the reward minus the mean reward of the group's other responses.

    `reward[i] - sum(reward[j], j != i) / (n - 1)`: Ahmadian et al. 2024 (arXiv 2402.14740), after Kool et al. 2019. The
    baseline does not depend on the response, so the policy gradient is unbiased. Arguments and errors as for `group`.
    """
    deviation, counts, index, counted = _centred(rewards, groups, known)
    others = counts / (counts - 1).clamp(min=1)  # r - mean of the others = n / (n - 1) * (r - mean of all)
    return Grouped((deviation * others[index]).to(rewards.dtype), counted)


def _centred(
    rewards: Float[Tensor, "responses"], groups: Int[Tensor, "responses"], known: Bool[Tensor, "responses"]
) -> tuple[Float[Tensor, "responses"], Float[Tensor, "groups"], Int[Tensor, "responses"], Bool[Tensor, "responses"]]:
    """Reward minus the known mean (in float64; 0 where not counted), known rewards a group, group index, counted."""
    bad = known & ~rewards.isfinite()
    if bad.any():
        raise ValueError(
            f"{int(bad.sum())} of {len(rewards)} rewards are NaN or infinite, the first at {int(bad.nonzero()[0])}; "
            "a reward that could not be had must be marked in `known`"
        )
    _, index = torch.unique(groups, return_inverse=True)
    counts = torch.bincount(index, known.double())
    zeroed = torch.where(known, rewards.double(), 0.0)
    mean = torch.bincount(index, zeroed) / counts.clamp(min=1)
    counted = known & (counts[index] >= 2)
    return torch.where(counted, zeroed - mean[index], 0.0), counts, index, counted
