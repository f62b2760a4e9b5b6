"""A bandit's policy with fewer parameters than arms: what pairs say about some arms moves the probability of others."""

import torch
from torch import Tensor, nn

from espalier.exact import Policy, bandit


class Linear(Policy):
    """`log policy = log reference + features @ weights - log Z`, from the reference on.

    Attributes:
        features: of each arm, [arms, dimensions].
        weights: what is trained; the implicit reward of `beta * weights`.
    """

    def __init__(self, features: Tensor, reference: Tensor) -> None:
        super().__init__(bandit(len(features)))
        self.features, self.reference = features, reference
        self.weights = nn.Parameter(torch.zeros(features.shape[1], dtype=features.dtype))

    def next_logprobs(self) -> Tensor:
        return (self.reference + self.features @ self.weights).log_softmax(-1)[:, None]
