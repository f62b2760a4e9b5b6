"""One prompt with a few answers, all of them known: what a preference loss should reach can be written down."""

from __future__ import annotations

import torch
from torch import Tensor

ANSWERS = 5


class World:
    """A reference, a reward, a policy of random log-ratios, and a cyclic preference, in double precision."""

    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.reference = torch.randn(ANSWERS, generator=g, dtype=torch.float64).log_softmax(0)
        self.policy = torch.randn(ANSWERS, generator=g, dtype=torch.float64).log_softmax(0)
        self.reward = torch.randn(ANSWERS, generator=g, dtype=torch.float64)
        score = torch.randn(ANSWERS, ANSWERS, generator=g, dtype=torch.float64)
        self.preference = (score - score.T).sigmoid()
        self.i, self.j = torch.tensor([(i, j) for i in range(ANSWERS) for j in range(ANSWERS) if i != j]).T

    def expected(self, losses: Tensor, preference: Tensor, law: Tensor | None = None) -> Tensor:
        """The mean over pairs (i, j) in order of i preferred: both drawn from the law, then compared."""
        drawn = torch.ones(ANSWERS).double() if law is None else law.exp()
        return (drawn[self.i] * drawn[self.j] * preference[self.i, self.j] * losses).sum()

    def bradley_terry(self, reward: Tensor) -> Tensor:
        return (reward[:, None] - reward[None, :]).sigmoid()


def gradient(function: object, at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(function(at), at)  # type: ignore[operator]
    return found
