"""Offline reasoning optimisation: a policy and a value model that agree with each other and with logged outcomes.

Wang et al. 2024 (arXiv 2412.16145). The soft Bellman equation `V(s) = r + V(s') - beta * log(policy / reference)(a|s)`,
summed from a state to the end, has a residual that is 0 at the optimum for every logged response, whoever wrote it, so
neither pairs nor new samples are needed. Its square trains the value model and the policy (section 4.1);
each holds the other's part constant, and the policy loss also the log-ratios of all later actions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Steps = Float[Tensor, "responses steps"]


class Oreo(NamedTuple):
    """Two losses, one value an action (a token or a step of a response), in reward^2; 0 where masked."""

    value: Steps
    policy: Steps


def oreo(values: Steps, logratios: Steps, rewards: Steps, mask: Bool[Tensor, "responses steps"], beta: float) -> Oreo:
    """The squared residuals of soft Bellman consistency, for the value model and for the policy.

    The paper adds a KL to the reference to the policy's loss; that is a term of its own here, `kl` or `kl_of_choice`.

    Args:
        values: V of the state before each action.
        logratios: log policy minus log reference of each action, in nats.
        rewards: after each action; for an outcome, zeros but for the last.
        mask: which actions are the policy's; what is not is passed over.
        beta: reward per nat.
    """
    ratios = torch.where(mask, logratios, 0.0)
    to_come = _from_here(torch.where(mask, rewards, 0.0))
    price = beta * _from_here(ratios.detach())
    later = price - beta * ratios.detach()
    value = values - to_come + price
    policy = values.detach() - to_come + later + beta * ratios
    return Oreo(torch.where(mask, value.square(), 0.0), torch.where(mask, policy.square(), 0.0))


def _from_here(steps: Steps) -> Steps:
    """At each step, the sum of this and all later ones."""
    return steps.flip(-1).cumsum(-1).flip(-1)
