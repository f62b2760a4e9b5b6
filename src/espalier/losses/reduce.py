"""The one reducer: losses return un-reduced terms, and the denominators are taken over the whole optimiser step.

A loss that divides by what lies in its micro-batch gives a gradient that depends on how the step was cut. Here
a loss only returns one value an item and says what an item is; the batch says how much each item weighs; the totals of
those weights are summed over every micro-batch and rank of the step before the first backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Unit = Literal["token", "step", "response", "pair"]
Weights = Mapping[Unit, Float[Tensor, "items"]]


@dataclass(frozen=True, slots=True)
class Term:
    """One un-reduced part of a loss.

    Attributes:
        values: one number an item (nats for likelihood losses).
        unit: what an item is; the batch's weights for that unit say how much each counts (0 leaves it out).
        scale: the term's coefficient in the total loss.
    """

    values: Float[Tensor, "items"]
    unit: Unit
    scale: float = 1.0


def totals(weights: Iterable[Weights]) -> dict[Unit, float]:
    """The denominators of one optimiser step: for each unit, the weights of all its micro-batches added up."""
    sums: dict[Unit, float] = {}
    for batch in weights:
        for unit, weight in batch.items():
            sums[unit] = sums.get(unit, 0.0) + float(weight.sum(dtype=torch.float64))
    return sums


def reduce(
    terms: Mapping[str, Term], weights: Weights, denominators: Mapping[Unit, float]
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """This micro-batch's share of the step's loss, and of each term's weighted mean.

    Shares add up: summed over the micro-batches of the step they give the loss of the whole step, and so do the
    gradients.

    Raises:
        ValueError: a term has another number of items than its unit has weights, or the step has no weight for it.
    """
    shares: list[Tensor] = []
    parts: dict[str, float] = {}
    for name, term in terms.items():
        weight = weights[term.unit]
        if term.values.shape != weight.shape:
            raise ValueError(f"term {name!r}: {tuple(term.values.shape)} values for {tuple(weight.shape)} {term.unit}s")
        if denominators[term.unit] <= 0:
            raise ValueError(f"term {name!r}: the whole step has no {term.unit} to learn from")
        # An item of weight 0 may hold anything, inf included; 0 * inf must not reach the sum. (What it was computed
        # from must still be finite where a gradient flows: the chain rule multiplies this zero by its derivative.)
        values = torch.where(weight > 0, term.values.float(), 0.0)
        share = (values * weight).sum() / denominators[term.unit]
        parts[name] = float(share.detach())
        shares.append(term.scale * share)
    return torch.stack(shares).sum(), parts
