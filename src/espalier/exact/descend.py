"""Go down an exact loss to its optimum: there is no noise to average out, and no sampler to blame."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from espalier.errors import TrainingError


def anneal(
    policy: nn.Module, loss: Callable[[], Float[Tensor, ""]], steps: int = 1000, lr: float = 0.05, momentum: float = 0.9
) -> Float[Tensor, ""]:
    """Adam with a learning rate that falls to 0 along a cosine; the last loss.

    For what L-BFGS cannot do: losses whose value means nothing (policy gradients, self-play against the policy as it
    is), and neural policies, which compute a part of their pass in fp32.

    Args:
        momentum: Adam's first beta. Take 0 in a game: momentum drives policies that chase each other outward.

    Raises:
        TrainingError: the loss is not finite.
    """
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(trained, lr, betas=(momentum, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    value = torch.zeros(())
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        schedule.step()
    return _finite(value.detach())


def descend(
    policy: nn.Module, loss: Callable[[], Float[Tensor, ""]], steps: int = 500, tolerance: float = 1e-10
) -> Float[Tensor, ""]:
    """L-BFGS until the gradient is below `tolerance`; the last loss. For smooth losses of tabular policies, in fp64.

    Args:
        policy: whose parameters the loss depends on.
        loss: computes the exact loss anew.
        steps: at most this many iterations.

    Raises:
        TrainingError: the loss is not finite.
    """
    optimiser = torch.optim.LBFGS(
        [parameter for parameter in policy.parameters() if parameter.requires_grad],
        max_iter=steps,
        tolerance_grad=tolerance,
        tolerance_change=1e-16,
        history_size=50,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    with torch.no_grad():
        return _finite(loss())


def _finite(loss: Tensor) -> Tensor:
    if not torch.isfinite(loss):
        raise TrainingError(f"the exact loss came to {loss.item()}; the problem has no finite optimum, or beta is tiny")
    return loss
