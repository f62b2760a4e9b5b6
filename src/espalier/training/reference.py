"""The reference policy as a policy of its own: frozen where training started, or following behind.

A reference that follows goes `rate` of the way to the policy every `every` steps. With a small rate at every step it is
a moving average; with rate 1 it is set to the policy now and then, which makes iterative DPO of DPO: the soft and the
hard update of TR-DPO (Gorbatovski et al. 2024, arXiv 2404.09656).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from espalier.errors import TrainingError
from espalier.models import Model, Packed
from espalier.models.numerics import matrix_products, resolve_precision
from espalier.training.config import Training

Reference = Callable[[Packed], Float[Tensor, "targets"]]


def precision(training: Training, model: Model) -> AbstractContextManager[object]:
    """The precision of matrix products that the run is set to; weights, sums and reductions stay fp32."""
    return matrix_products(resolve_precision(training.precision, model), model.device)


def make_reference(model: Model, initial: Model | None, training: Training, temperature: float) -> Reference:
    """Log-probs under the policy that training started from: the adapter switched off, or a frozen copy."""

    def of(judge: Model, context: Callable[[], AbstractContextManager[object]], packed: Packed) -> Tensor:
        judge.eval()
        with torch.no_grad(), context(), precision(training, judge):
            logprobs = judge(packed, temperature=temperature).logprobs
        assert logprobs is not None
        return logprobs.float()

    if initial is None:
        return partial(of, model, model.reference)
    return partial(of, initial, nullcontext)


class Follower:
    """A copy of the policy that follows its trainable weights; what else the two have, they share from the start.

    Attributes:
        model: the copy, without gradients.

    Args:
        policy: as training starts from it.
        rate: the share of the way that one update goes; 1 sets the copy to the policy.
        every: how many steps lie between two updates.
    """

    def __init__(self, policy: Model, rate: float, every: int) -> None:
        self.model, self.rate, self.every = policy.copy(), rate, every
        copies = dict(self.model.named_parameters())
        self._pairs = [(name, p, copies[name]) for name, p in policy.named_parameters() if p.requires_grad]

    def follow(self, done: int) -> None:
        """What is due after `done` steps."""
        if done % self.every == 0:
            with torch.no_grad():
                for _, weight, copy in self._pairs:
                    copy.lerp_(weight, self.rate)

    def state(self) -> dict[str, Tensor]:
        """The weights that differ from the policy's, for a checkpoint."""
        return {name: copy.detach().cpu().contiguous() for name, _, copy in self._pairs}

    def load(self, saved: dict[str, Tensor]) -> None:
        """Take over what `state` gave.

        Raises:
            TrainingError: the weights of another model.
        """
        if saved.keys() != {name for name, _, _ in self._pairs}:
            raise TrainingError("the checkpoint's reference policy is another model's")
        with torch.no_grad():
            for name, _, copy in self._pairs:
                copy.copy_(saved[name])
