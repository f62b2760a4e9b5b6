"""Value learning as classification: a distribution over bins in place of a number, learned by cross-entropy.

Farebrother et al. 2024, "Stop Regressing" (arXiv 2403.03950), section 3. A target becomes a distribution over the bins'
centres (`two_hot` or `hl_gauss`; for a target that is itself a distribution, `project`), a head's logits are pulled to
it by `cross_entropy`, and `expected_value` reads the number back. What is left out: which bins; see `Support`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Support:
    """Evenly spaced bin centres.

    Attributes:
        low: the first centre, in units of the value.
        high: the last one.
        bins: how many there are.

    Raises:
        ValueError: fewer than two bins, or a range that is empty.
    """

    low: float
    high: float
    bins: int

    def __post_init__(self) -> None:
        if self.bins < 2 or not self.low < self.high:
            raise ValueError(f"a support needs two bins or more and low < high, found {self}")

    @classmethod
    def around(cls, low: float, high: float, bins: int, margin: int = 3) -> Support:
        """The support whose outer `margin` bins on each side lie beyond [low, high].

        A smoothed target at an end of the range needs that room, or what is cut off biases the value inwards: three
        bins are four standard deviations of `hl_gauss`.
        """
        if bins < 2 * margin + 2:
            raise ValueError(f"{bins} bins are too few for margins of {margin}; take {2 * margin + 2} or more")
        beyond = margin * (high - low) / (bins - 1 - 2 * margin)
        return cls(low - beyond, high + beyond, bins)

    @property
    def width(self) -> float:
        """The distance of two centres."""
        return (self.high - self.low) / (self.bins - 1)

    def centres(self, like: Tensor) -> Float[Tensor, "bins"]:
        """The centres, in the type and on the device of a tensor."""
        return torch.linspace(self.low, self.high, self.bins, dtype=torch.float64).to(like)


def two_hot(targets: Float[Tensor, "*items"], support: Support) -> Float[Tensor, "*items bins"]:
    """The target split between the two centres beside it, such that the mean is the target; clipped to the support."""
    place = (targets.clamp(support.low, support.high) - support.low) / support.width
    return (1 - (place[..., None] - torch.arange(support.bins).to(targets)).abs()).clamp(min=0)


def hl_gauss(targets: Float[Tensor, "*items"], support: Support, ratio: float = 0.75) -> Float[Tensor, "*items bins"]:
    """A Gaussian around the target, its mass counted in each bin: the histogram loss of Imani and White 2018.

    Args:
        ratio: the standard deviation in widths of a bin; at 0.75 the mass lies on about six bins.
    """
    edges = torch.linspace(support.low - support.width / 2, support.high + support.width / 2, support.bins + 1)
    inside = targets.clamp(support.low, support.high)[..., None]
    cdf = torch.special.ndtr((edges.to(targets) - inside) / (ratio * support.width))
    return cdf.diff(dim=-1) / (cdf[..., -1:] - cdf[..., :1])


def project(
    probabilities: Float[Tensor, "*items bins"], rewards: Float[Tensor, "*items"], gamma: float, support: Support
) -> Float[Tensor, "*items bins"]:
    """C51's target: the next state's distribution, moved by the reward and shrunk by gamma, back on the support.

    Bellemare et al. 2017 (arXiv 1707.06887), equation 7: each atom `reward + gamma * centre` is split by `two_hot`.
    """
    atoms = rewards[..., None] + gamma * support.centres(probabilities)
    return (probabilities[..., None] * two_hot(atoms, support)).sum(-2)


def cross_entropy(
    logits: Float[Tensor, "*items bins"], targets: Float[Tensor, "*items bins"]
) -> Float[Tensor, "*items"]:
    """The cross-entropy of each target distribution with the softmax of the logits, in nats."""
    return -(targets * logits.log_softmax(-1)).sum(-1)


def expected_value(logits: Float[Tensor, "*items bins"], support: Support) -> Float[Tensor, "*items"]:
    """The mean of the predicted distribution: the value that the head stands for."""
    return logits.softmax(-1) @ support.centres(logits)
