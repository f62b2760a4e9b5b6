"""Distributions in place of pairs: every quantile of the chosen responses' scores above that of the rejected ones.

Melnyk et al. 2024 (AOT, arXiv 2406.05882). Optimal transport between two samples of one dimension pairs their equal
ranks, so the loss is DPO's on pairs matched by rank. The ranks are those of the *whole optimiser step*: compute
`by_rank` once a step, and the gradient does not depend on the cut into micro-batches.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from espalier.losses.preference.core import Pairs, labelled, logistic, margin


def by_rank(values: Float[Tensor, "items"], others: Float[Tensor, "items"]) -> Int[Tensor, "items"]:
    """For each value, the index of the other that has its rank.

    Raises:
        ValueError: there are not as many others as values.
    """
    if len(values) != len(others):
        raise ValueError(f"{len(values)} values cannot be matched by rank with {len(others)}")
    ranks = values.argsort().argsort()
    return others.argsort()[ranks]


def aot(policy_margin: Pairs, reference_margin_at_rank: Pairs, beta: float, noise: float = 0.0) -> Pairs:
    """AOT on pairs: the policy's log-prob margins above the reference's, quantile by quantile.

    Args:
        policy_margin: log policy of the chosen minus that of the rejected response.
        reference_margin_at_rank: the same under the reference, `reference[by_rank(policy_margin, reference)]`.
        beta: reward per nat.
        noise: the share of flipped labels, as in cDPO.
    """
    return labelled(logistic, margin(policy_margin, reference_margin_at_rank, beta), 1 - noise)


def aot_unpaired(chosen_logratio: Pairs, rejected_logratio_at_rank: Pairs, beta: float, noise: float = 0.0) -> Pairs:
    """AOT on unpaired responses: log-ratios of the chosen above those of the rejected, quantile by quantile.

    Args:
        chosen_logratio: of the liked responses.
        rejected_logratio_at_rank: of the disliked, `rejected[by_rank(chosen, rejected)]`.
        beta: reward per nat.
        noise: the share of flipped labels, as in cDPO.
    """
    return labelled(logistic, margin(chosen_logratio, rejected_logratio_at_rank, beta), 1 - noise)
