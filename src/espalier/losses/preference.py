"""Learning from pairs: a margin between two responses, and a link that turns the margin into a loss.

The members of the family differ in what makes the margin (log-ratios to a reference, log-probs alone, a mean over
tokens) and in the link (logistic, squared, hinge); each is `link(margin(...))`. What is left out here: no masking, no
summing over tokens, no averaging over pairs; the batch does the first two and `reduce` the third.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def margin(
    chosen_logratio: Float[Tensor, "pairs"], rejected_logratio: Float[Tensor, "pairs"], beta: float
) -> Float[Tensor, "pairs"]:
    """By how much the implicit reward `beta * log(policy / reference)` prefers the chosen response.

    Args:
        chosen_logratio: log policy minus log reference of the whole chosen response, in nats.
        rejected_logratio: the same of the rejected response.
        beta: reward per nat; the strength of the KL penalty in the objective that this reward is the optimum of.
    """
    return beta * (chosen_logratio - rejected_logratio)


def logistic(margin: Float[Tensor, "pairs"], smoothing: float = 0.0) -> Float[Tensor, "pairs"]:
    """The logistic link: the negative log-likelihood of the label when P(chosen wins) = sigmoid(margin).

    Args:
        margin: real; positive where the chosen response is preferred.
        smoothing: the assumed probability that a label is flipped, in [0, 0.5).
    """
    if smoothing == 0.0:
        return -F.logsigmoid(margin)
    return -(1 - smoothing) * F.logsigmoid(margin) - smoothing * F.logsigmoid(-margin)


def dpo(
    chosen_logratio: Float[Tensor, "pairs"],
    rejected_logratio: Float[Tensor, "pairs"],
    beta: float,
    smoothing: float = 0.0,
) -> Float[Tensor, "pairs"]:
    """Direct preference optimisation, in nats a pair.

    Rafailov et al. 2023 (arXiv 2305.18290), equation 7: `-log sigmoid(beta * (chosen_logratio - rejected_logratio))`.
    With `smoothing` it is the conservative DPO of Mitchell's 2023 note, whose optimum has a finite margin.
    """
    return logistic(margin(chosen_logratio, rejected_logratio, beta), smoothing)
