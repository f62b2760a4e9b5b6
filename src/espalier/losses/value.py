"""Value models: predict from a state (a prefix) how it will end."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def bce(logits: Float[Tensor, "items"], outcome: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """The negative log-likelihood of an outcome when P(success) = sigmoid(logit), in nats.

    The outcome loss of Wang et al. 2024 (Math-Shepherd, arXiv 2312.08935), equation 1. Its optimum is the probability
    of success from each state.

    Args:
        logits: the head's raw output.
        outcome: 1 for success, 0 for failure; a fraction (a Monte Carlo estimate of the probability) is a soft label.
    """
    return F.binary_cross_entropy_with_logits(logits, outcome.to(logits), reduction="none")


def mse(values: Float[Tensor, "items"], targets: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """The squared error, whose optimum is the mean of the targets.

    The loss of the token-level verifiers of Cobbe et al. 2021 (arXiv 2110.14168), and of every critic. Without the
    factor 1/2 that some write; a coefficient belongs into `Term.scale`.
    """
    return (values - targets).square()


def clipped_mse(
    values: Float[Tensor, "items"],
    old_values: Float[Tensor, "items"],
    targets: Float[Tensor, "items"],
    clip: float,
) -> Float[Tensor, "items"]:
    """PPO's value loss: no gradient for moving a value further than `clip` from where it was at sampling time.

    The larger of the squared errors of `values` and of `values` clipped to `old_values ± clip`, as in the
    implementation that accompanied Schulman et al. 2017 (arXiv 1707.06347); the paper itself does not have it.

    Args:
        values: of the model that is being trained.
        old_values: of the model that made the rollout; no gradient flows into them.
        targets: the returns.
        clip: in units of the return.
    """
    old_values = old_values.detach()
    near = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum(mse(values, targets), mse(near, targets))
