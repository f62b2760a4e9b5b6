"""Supervised fine-tuning: make what was written more likely."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def nll(logprobs: Float[Tensor, "tokens"]) -> Float[Tensor, "tokens"]:
    """The negative log-likelihood of each token, in nats.

    Which tokens count is the batch's affair (its weights), so prompt and tool tokens never reach this function's sum.
    """
    return -logprobs


def coverage(logprobs: Float[Tensor, "items"], n: int) -> Float[Tensor, "items"]:
    """The negative log-probability that one of `n` samples is the one that was written: direct coverage optimisation.

    `-log(1 - (1 - p)^n)`: Chen et al. 2025 (arXiv 2502.07154), equation 6; for n = 1 it is `nll`. Its gradient is that
    of `nll` times `n (1-p)^(n-1) p / (1 - (1-p)^n)`, which vanishes where the model is confident already.

    Args:
        logprobs: of whole responses (or of steps), in nats.
        n: how many samples there will be at test time.
    """
    rare = logprobs + math.log(n) < -14  # there 1 - (1-p)^n is n p, and p itself may be too small to be written
    eps = torch.finfo(logprobs.dtype).eps
    missed = n * torch.log1p(-torch.exp(logprobs.masked_fill(rare, -1.0).clamp(max=-eps)))
    return torch.where(rare, -logprobs - math.log(n), -torch.log(-torch.expm1(missed)))
