"""Process rewards without process labels: train an outcome model made of log-ratios, read it off token by token.

Yuan et al. 2024 (arXiv 2412.01981). The outcome reward is `r(y) = beta * log(policy(y) / reference(y))`; it may be
learned by any loss of outcomes. Here is the cross-entropy, which needs no pairs; with pairs take `dpo`, `nca` or any
other preference loss, whose beta this is. Then (proposition 3.1) the prefix sum of token rewards is the exact soft
value `beta * log E_reference[exp(r / beta) | prefix]`, and the reward of a step is a difference of two of them: its
soft advantage.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from espalier.losses.value import bce


def outcome_ce(
    logratio: Float[Tensor, "responses"], outcome: Float[Tensor, "responses"], beta: float
) -> Float[Tensor, "responses"]:
    """The negative log-likelihood of a response's label when P(right) = sigmoid(beta * logratio), in nats (equation 5).

    Rewards of log-ratios satisfy `E_reference[exp(r / beta)] = 1`, so they cannot fit every probability of success:
    where the log-odds do not satisfy it, the optimum is the best fit among those that do.

    Args:
        logratio: log policy minus log reference of a whole response, in nats.
        outcome: 1 where the response is right, 0 where it is not; fractions are soft labels.
        beta: reward per nat.
    """
    return bce(beta * logratio, outcome)


def token_rewards(
    logprobs: Float[Tensor, "*tokens"], reference: Float[Tensor, "*tokens"], beta: float
) -> Float[Tensor, "*tokens"]:
    """The reward of each token; summed over a step's tokens the step's, over a prefix its soft value."""
    return beta * (logprobs - reference)
