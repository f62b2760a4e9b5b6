"""Supervised fine-tuning: make what was written more likely."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def nll(logprobs: Float[Tensor, "tokens"]) -> Float[Tensor, "tokens"]:
    """The negative log-likelihood of each token, in nats.

    Which tokens count is the batch's affair (its weights), so prompt and tool tokens never reach this function's sum.
    """
    return -logprobs
