"""How far one policy is from another: estimators of KL(policy || reference) from samples, and the exact value.

The estimators are those of Schulman's 2020 note, "Approximating KL divergence". Each takes the log-probs of tokens (or
of whole responses) *that the policy sampled*, and its mean over samples estimates the divergence, in nats. PPO's
"approximate KL", of the sampling policy to the trained one, is `k3(old_logprobs, logprobs)`.

As a *loss* they are not what they estimate: over the policy's own samples the mean gradient of k1 is zero, that of k2
is the gradient of KL(policy || reference), and that of k3 is the gradient of KL(reference || policy) (Tang and Munos
2025, arXiv 2506.09477).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def k1(logprobs: Float[Tensor, "items"], reference: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """`log p - log q`: unbiased, of high variance, often negative on a single sample."""
    return logprobs - reference


def k2(logprobs: Float[Tensor, "items"], reference: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """`(log p - log q)^2 / 2`: biased, of low variance, never negative."""
    return (logprobs - reference).square() / 2


def k3(logprobs: Float[Tensor, "items"], reference: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """`q/p - 1 - log(q/p)`: unbiased and never negative; the penalty of GRPO (arXiv 2402.03300, equation 4)."""
    difference = reference - logprobs
    return torch.expm1(difference) - difference


def kl(
    logits: Float[Tensor, "items vocabulary"], reference: Float[Tensor, "items vocabulary"]
) -> Float[Tensor, "items"]:
    """The exact KL(softmax(logits) || softmax(reference)) of each item, in nats.

    A token that the policy gives no probability (logit -inf) adds nothing; one that only the reference rules out makes
    the divergence infinite.
    """
    log_p, log_q = logits.log_softmax(-1), reference.log_softmax(-1)
    impossible = log_p == -torch.inf
    difference = log_p.masked_fill(impossible, 0.0) - log_q.masked_fill(impossible, 0.0)
    return (log_p.exp() * difference).sum(-1)


def kl_of_choice(logprobs: Float[Tensor, "items"], reference: Float[Tensor, "items"]) -> Float[Tensor, "items"]:
    """`p log(p/q) + (1-p) log((1-p)/(1-q))`: the exact KL of writing this token rather than any other, in nats.

    Never more than that of the whole distributions (data processing), and equal to it where there are two tokens. It
    takes a log-prob of each policy and nothing of the other tokens, and holds whoever wrote the token.
    """
    rest, other = log_rest(logprobs), log_rest(reference)
    return logprobs.exp() * (logprobs - reference) + rest.exp() * (rest - other)


def log_rest(logprobs: Float[Tensor, "*items"]) -> Float[Tensor, "*items"]:
    """`log(1 - p)`: of everything else. At p = 1 in floating point: that of the next lower p, and no gradient."""
    return torch.log(-torch.expm1(logprobs.clamp(max=-torch.finfo(logprobs.dtype).eps)))
