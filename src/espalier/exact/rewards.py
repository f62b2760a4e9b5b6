"""What is wanted: rewards of strings, and preferences between them, transitive or not.

A preference is a matrix: row i, column j holds the probability that string i is preferred to string j. It adds up to 1
with its transpose; the diagonal is 1/2.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from espalier.exact.language import Language


def random_reward(language: Language, seed: int, scale: float = 1.0) -> Float[Tensor, "prompts strings"]:
    """Normal rewards of this standard deviation."""
    shape = (len(language.prompts), len(language.strings))
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bradley_terry(reward: Float[Tensor, "*prompts strings"]) -> Float[Tensor, "*prompts strings strings"]:
    """`P(i beats j) = sigmoid(reward_i - reward_j)` (Bradley and Terry 1952)."""
    return torch.sigmoid(reward[..., :, None] - reward[..., None, :])


def random_preference(language: Language, seed: int, scale: float = 1.0) -> Float[Tensor, "prompts strings strings"]:
    """A general preference, with cycles: the sigmoid of a random antisymmetric matrix."""
    shape = (len(language.prompts), len(language.strings), len(language.strings))
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).triu(1)
    return torch.sigmoid(scale * (draw - draw.mT))


def cyclic(strings: int = 3, strength: float = 1.0) -> Float[Tensor, "1 strings strings"]:
    """Rock, paper, scissors: each string loses to the next half of the others around a circle, beats the other half.

    Args:
        strings: an odd number, so that the uniform law is the only equilibrium.
        strength: 1 is always, 0 a coin toss.
    """
    if strings % 2 == 0:
        raise ValueError(f"a balanced cycle needs an odd number of strings, found {strings}")
    ahead = (torch.arange(strings)[None, :] - torch.arange(strings)[:, None]) % strings
    sign = torch.where(ahead == 0, 0.0, torch.where(ahead <= strings // 2, -1.0, 1.0)).double()
    return (0.5 + strength * sign / 2)[None]
