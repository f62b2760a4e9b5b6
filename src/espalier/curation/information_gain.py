"""Skip the examples that would teach nothing: information gain filtration (IGF).

Antonello et al. 2020 (arXiv 2005.00175). The information gain of an example is by how much one step of gradient descent
on it lowers the loss on a held-out objective set. That is measured for a few examples, each from the same weights; a
simple secondary learner then predicts it for the others from their text, and fine-tuning skips what lies below a
threshold, which falls as the model moves away from the weights the gains were measured at. Gains are standardised, so a
threshold counts standard deviations above the average example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from espalier.curation.ngrams import hashed_ngrams, text_of
from espalier.curation.take import noted
from espalier.trees import Forest


def information_gains(
    model: nn.Module, losses: Sequence[Callable[[], Tensor]], objective: Callable[[], Tensor], lr: float
) -> Float[np.ndarray, "examples"]:
    """The drop of the objective after one step of gradient descent on each example's loss; the model stays as it was.

    Args:
        losses: compute an example's loss with the model as it is.
        objective: the loss on the objective set.
        lr: of the step; its size hardly changes the order of small gains.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.detach().clone() for parameter in weights]
    with torch.no_grad():
        start = float(objective())
    gains = []
    for loss in losses:
        slopes = torch.autograd.grad(loss(), weights)
        with torch.no_grad():
            for parameter, slope in zip(weights, slopes, strict=True):
                parameter.sub_(lr * slope)
            gains.append(start - float(objective()))
            for parameter, value in zip(weights, before, strict=True):
                parameter.copy_(value)
    return np.array(gains)


class GainLearner:
    """The secondary learner: ridge regression from counts of n-grams to standardised gains.

    Raises:
        ValueError: fewer than two different gains to learn from.
    """

    def __init__(
        self,
        counts: Shaped[np.ndarray, "examples buckets"],
        gains: Float[np.ndarray, "examples"],
        ridge: float = 1.0,
    ) -> None:
        spread = float(np.std(gains))
        if not spread > 0:
            raise ValueError("information gains that are all the same teach no learner")
        self.centre = counts.mean(0)
        rows = counts - self.centre
        # In the examples' own space: there are fewer examples than buckets.
        kernel = rows @ rows.T + ridge * np.eye(len(rows))
        self.weights = rows.T @ np.linalg.solve(kernel, (gains - np.mean(gains)) / spread)

    def predict(self, counts: Shaped[np.ndarray, "examples buckets"]) -> Float[np.ndarray, "examples"]:
        """In standard deviations above the average example."""
        return (counts - self.centre) @ self.weights


def falling(step: int, steps: int, first: float = 1.0, last: float = -1.0) -> float:
    """The threshold after so many steps: from above the average example down to below it, in a line."""
    return first + (last - first) * min(1.0, step / max(1, steps))


def above_gain(
    forest: Forest,
    learner: GainLearner,
    threshold: float,
    buckets: int = 1000,
    text: Callable[[Any], str] = text_of,
) -> Forest:
    """The trees whose predicted gain is above the threshold; it is noted as "information gain"."""
    gains = learner.predict(hashed_ngrams([text(tree) for tree in forest], buckets))
    pairs = zip(forest, gains.tolist(), strict=True)
    return Forest([noted(tree.copy(), "information gain", gain) for tree, gain in pairs if gain > threshold])
