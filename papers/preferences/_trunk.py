"""A policy that reads responses through a hidden layer: what an extra task teaches that layer, the policy knows too."""

import torch
from torch import Tensor, nn

from espalier.exact import Policy, bandit


class Trunk(Policy):
    """`log policy = log reference + head(states) - log Z`, the states a small network's; the reference at first.

    Attributes:
        inputs: of each response to each prompt, [prompts, arms, dimensions].
        trunk: from inputs to states.
        head: from states to a logit, 0 before training.
        task: from states to the extra task's logits.
    """

    def __init__(self, inputs: Tensor, reference: Tensor, hidden: int, classes: int, seed: int) -> None:
        super().__init__(bandit(inputs.shape[1], prompts=len(inputs)))
        self.inputs, self.reference, size = inputs, reference, inputs.shape[-1]
        chance = torch.Generator().manual_seed(seed)
        start = torch.randn(size, hidden, generator=chance, dtype=torch.float64) / size**0.5
        self.trunk = nn.Parameter(start)
        self.head = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.task = nn.Parameter(torch.zeros(hidden, classes, dtype=torch.float64))

    def states(self, inputs: Tensor) -> Tensor:
        """Of any responses, [..., hidden]."""
        return torch.tanh(inputs @ self.trunk)

    def next_logprobs(self) -> Tensor:
        return (self.reference + self.states(self.inputs) @ self.head).log_softmax(-1)[:, None]
