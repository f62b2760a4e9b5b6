"""A policy over several prompts whose responses share features: what a pair says of two moves all the others.

Likelihood displacement, squeezing and over-optimisation need that; in a table DPO always raises the chosen response.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from espalier.exact import Pairs, Policy, bandit, bradley_terry


class Shared(Policy):
    """`log policy = log reference + features @ weights - log Z`, from the reference on.

    Attributes:
        features: of each response to each prompt, [prompts, arms, dimensions].
        weights: what is trained, [dimensions].
    """

    def __init__(self, features: Tensor, reference: Tensor) -> None:
        super().__init__(bandit(features.shape[1], prompts=len(features)))
        self.features, self.reference = features, reference
        self.weights = nn.Parameter(features.new_zeros(features.shape[2]))

    def next_logprobs(self) -> Tensor:
        return (self.reference + self.features @ self.weights).log_softmax(-1)[:, None]


def normal(seed: int) -> Callable[..., Tensor]:
    """Normal numbers of a shape, from one seed, divided by the root of the last size if there are several."""
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64) / (shape[-1] ** 0.5 if len(shape) > 2 else 1)

    return draw


class World(NamedTuple):
    """Attributes: all [prompts, arms] but the features: [prompts, arms, dimensions]."""

    features: Tensor
    reference: Tensor
    reward: Tensor


def world(seed: int, dimensions: int, told: float, prompts: int = 12, arms: int = 40, spread: float = 1.5) -> World:
    """A random problem.

    Args:
        told: the size of the part of the reward that the features tell; the other part has size 1.
        spread: of the reference's logits.
    """
    draw = normal(seed)
    features = 2 * draw(prompts, arms, dimensions)
    reference = (spread * draw(prompts, arms)).log_softmax(-1)
    return World(features, reference, told * features @ draw(dimensions) + draw(prompts, arms))


def drawn(law: Tensor, reward: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """This many pairs a prompt, of responses of the law, labelled once each: chosen and rejected, [prompts, count]."""
    pairs = Pairs.all(law, bradley_terry(reward))
    which = torch.multinomial(pairs.weight, count, replacement=True, generator=torch.Generator().manual_seed(seed))
    return pairs.chosen[which], pairs.rejected[which]


def of(law: Tensor, pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The values of the chosen and of the rejected responses, flat."""
    return law.gather(1, pairs[0]).flatten(), law.gather(1, pairs[1]).flatten()


def steps(policy: nn.Module, loss: Callable[[], Tensor], count: int, lr: float) -> Iterator[int]:
    """Plain gradient descent, as the theorems have it; the caller may look before each step, and after the last."""
    optimiser = torch.optim.SGD(policy.parameters(), lr)
    for number in range(count):
        yield number
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    yield count
