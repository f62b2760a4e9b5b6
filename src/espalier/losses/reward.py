"""Reward models from comparisons: the better response should score higher."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from espalier.losses.preference.core import logistic


def bradley_terry(
    chosen: Float[Tensor, "pairs"], rejected: Float[Tensor, "pairs"], margin: float | Float[Tensor, "pairs"] = 0.0
) -> Float[Tensor, "pairs"]:
    """The negative log-likelihood of each comparison, in nats: `-log sigmoid(chosen - rejected - margin)`.

    Bradley and Terry 1952; as a reward-model loss Ouyang et al. 2022 (arXiv 2203.02155), equation 1; with a margin
    Touvron et al. 2023 (arXiv 2307.09288), equation 2. Only differences of rewards are learned: their origin is free.

    Args:
        chosen: the reward of the preferred response.
        rejected: the reward of the other.
        margin: by how much the chosen response should at least win; larger where the raters were surer.
    """
    return logistic(chosen - rejected - margin)
