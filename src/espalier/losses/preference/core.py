"""The algebra of preference losses: a loss is `link(score(chosen) - score(rejected) - target) + terms`.

Five choices make a member of the family, and each has its place in this file:

1. the **sum** that turns tokens into a response: all of them, their mean, some of them (`total`, `average`,
   `length_desensitised`);
2. the **score** of a response: its log-ratio to a reference under some divergence (`reverse_kl`, `forward_kl`,
   `jensen_shannon`, `alpha_divergence`), or, without a reference, its log-prob or log-odds (`log_odds`);
3. the **margin** between two scores (`margin`), or between one score and an anchor;
4. the **link** from a margin to a loss (`logistic`, `hinge`, `squared`, `exponential`), and how far the label is to be
   believed (`labelled`: soft labels, label noise);
5. **terms** beside it, such as the negative log-likelihood of the chosen response. They are added in plain sight.

The named losses are lines made of these (`pairwise`, `reference_free`, `unpaired`, `listwise`, `transport`, `general`);
docs/losses.md has them all in one table. Everything is a pure function of tensors and returns one value an item. What
is left out: averaging over items (`espalier.losses.reduce`), and who the reference is. A log-ratio is log policy minus
log reference of a whole response, in nats; the reference may be frozen, the model without its adapter, a moving
average, the policy that sampled, or stored numbers. With no reference at all, pass log-probs in place of log-ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from espalier.losses.divergences import log_rest

Pairs: TypeAlias = Float[Tensor, "pairs"]
Responses: TypeAlias = Float[Tensor, "responses"]
Tokens: TypeAlias = Float[Tensor, "responses tokens"]
Mask: TypeAlias = Bool[Tensor, "responses tokens"]

Link: TypeAlias = Callable[[Pairs], Pairs]
"""From a margin, positive where the order is right, to a loss."""

Divergence: TypeAlias = Callable[[Responses], Responses]
"""From the log-ratio `log u` to `f'(u) - f'(1)`, the reward (in units of beta) that the f-divergence gives u."""


# ------------------------------------------------------------------------------------ from tokens to responses


def total(values: Tokens, mask: Mask) -> Responses:
    """The sum over the masked tokens; log-probs of tokens become that of a response, or of one step of it."""
    return torch.where(mask, values, 0.0).sum(-1)


def average(values: Tokens, mask: Mask) -> Responses:
    """The mean over the masked tokens; 0 where a response has none."""
    return total(values, mask) / mask.sum(-1).clamp(min=1)


def length_desensitised(values: Tokens, mask: Mask, shared: Int[Tensor, "responses"], alpha: float) -> Responses:
    """The sum in which tokens after the first `shared` ones count `alpha`: LD-DPO's, of Liu et al. 2024.

    arXiv 2409.06411. `shared` is the shorter length of the two responses of a pair; alpha 1 is `total`, and 0 cuts both
    responses to one length.
    """
    beyond = mask.cumsum(-1) > shared[:, None]
    return total(torch.where(beyond, alpha * values, values), mask)


# ------------------------------------------------------------------------------------------- scores of responses


def reverse_kl(logratio: Responses) -> Responses:
    """`f'(u) = log u + 1`, of KL(policy || reference): the score is the log-ratio itself, as in DPO."""
    return logratio


def forward_kl(logratio: Responses) -> Responses:
    """`f'(u) = -1/u`, of KL(reference || policy). It explodes where the policy has nearly given a response up."""
    return -torch.expm1(-logratio)


def jensen_shannon(logratio: Responses) -> Responses:
    """`f'(u) = log(2u / (1 + u))`: never above log 2."""
    return F.logsigmoid(logratio) - F.logsigmoid(torch.zeros_like(logratio))


def alpha_divergence(alpha: float) -> Divergence:
    """`f'(u) = (1 - u^-alpha) / alpha`: the reverse KL as alpha goes to 0, the forward KL at 1.

    Wang et al. 2023 (arXiv 2309.16240), as are the three above. Constants cancel in a margin, so each is 0 at u = 1.
    """
    if alpha == 0.0:
        return reverse_kl
    return lambda logratio: -torch.expm1(-alpha * logratio) / alpha


def log_odds(logprob: Responses) -> Responses:
    """`log(p / (1 - p))` of a log-prob below 0. At p = 1 in floating point: that of the next lower p, no gradient."""
    return logprob.clamp(max=-torch.finfo(logprob.dtype).eps) - log_rest(logprob)


# ---------------------------------------------------------------------------------------------- margin and links


def margin(chosen: Pairs, rejected: Pairs, beta: float | Pairs = 1.0) -> Pairs:
    """By how much the implicit reward `beta * score` prefers the chosen response.

    Args:
        chosen: the score of the chosen response; for DPO its log-ratio, in nats.
        rejected: the score of the other.
        beta: reward per nat; the strength of the penalty in the objective that this reward is the optimum of.
    """
    return beta * (chosen - rejected)


def logistic(margin: Pairs) -> Pairs:
    """The negative log-likelihood of the label when P(chosen wins) = sigmoid(margin), in nats."""
    return -F.logsigmoid(margin)


def hinge(margin: Pairs, at: float = 1.0) -> Pairs:
    """`max(0, at - margin)`: content once the margin is `at`."""
    return torch.relu(at - margin)


def squared(margin: Pairs, target: float | Pairs) -> Pairs:
    """`(margin - target)^2`: regression on a margin that is known."""
    return (margin - target).square()


def exponential(margin: Pairs) -> Pairs:
    """`exp(-margin)`, boosting's link: wrong orders count without limit."""
    return torch.exp(-margin)


def labelled(link: Link, margin: Pairs, probability: float | Pairs) -> Pairs:
    """The link under a label that is right with some probability: `p * link(m) + (1 - p) * link(-m)`.

    With noise e, the probability that a label is flipped: p = 1 - e is the conservative loss, whose optimum under clean
    labels has a finite margin; p = `unbiased(e)` is the robust one, which has under noisy labels the mean that the
    plain link has under clean ones. With a preference model: p is its probability.
    """
    return probability * link(margin) + (1 - probability) * link(-margin)


def unbiased(noise: float) -> float:
    """The "probability" `(1 - noise) / (1 - 2 noise)`, above 1, that takes symmetric label noise out of a loss's mean.

    Natarajan et al. 2013; Chowdhury et al. 2024 (arXiv 2403.00409).

    Raises:
        ValueError: labels flipped half of the time or more say nothing.
    """
    if not 0 <= noise < 0.5:
        raise ValueError(f"noise = {noise}: the share of flipped labels must be in [0, 0.5)")
    return (1 - noise) / (1 - 2 * noise)


# --------------------------------------------------------------------------------------------- policy gradients


def score_function(values: Responses, logprob: Responses) -> Responses:
    """The values, with the gradient `values * grad(logprob)`: that of their mean over the policy's samples."""
    return values.detach() * (1 + logprob - logprob.detach())
