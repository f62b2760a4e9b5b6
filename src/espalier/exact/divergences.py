"""The optimum under a penalty other than reverse KL: `max E[r] - beta * D_f(policy || reference)`.

With `D_f = E_reference[f(policy / reference)]` the optimum is `reference * g((r - shift) / beta)`, where g inverts f'
and the shift makes it a law (Wang et al. 2023, arXiv 2309.16240, theorem 1). Each divergence is known by its g:

    reverse_kl   f'(u) = log u              g(v) = exp(v)
    forward_kl   f'(u) = -1 / u             g(v) = -1 / v              for v < 0
    js           f'(u) = log(2u / (1 + u))  g(v) = 1 / (2 exp(-v) - 1) for v < log 2
    alpha        f'(u) = (1 - u^-a) / a     g(v) = (1 - a v)^(-1 / a)  for v < 1 / a

Constants in f' move the shift and nothing else. All four rule out `policy = 0`, so no string is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]


def f_optimum(
    reference: Float[Tensor, "*prompts strings"],
    reward: Float[Tensor, "*prompts strings"],
    beta: float,
    divergence: Divergence,
    alpha: float = 0.5,
) -> Float[Tensor, "*prompts strings"]:
    """The log-probs of the optimum; the shift is found by bisection.

    Args:
        alpha: of the alpha-divergence, in (0, 1); towards 0 it is reverse KL, at 1 forward KL.
    """
    ratio, top = _inverse(divergence, alpha)
    scaled = reward / beta
    if divergence == "reverse_kl":
        return (reference + scaled).log_softmax(-1)
    # The total mass falls as the shift grows: infinite where the best string reaches the top of g's domain, at most 1
    # where every string's ratio is at most 1, that is where even the best string's v is at most f'(1).
    best = scaled.amax(-1, keepdim=True)
    low, high = best - top, best + 1.0
    for _ in range(200):
        middle = (low + high) / 2
        heavy = (reference + ratio(scaled - middle)).logsumexp(-1, keepdim=True) > 0
        low, high = torch.where(heavy, middle, low), torch.where(heavy, high, middle)
    return (reference + ratio(scaled - high)).log_softmax(-1)


def _inverse(divergence: Divergence, alpha: float) -> tuple[Callable[[Tensor], Tensor], float]:
    """log g, and the upper end of its domain."""
    if divergence == "reverse_kl":
        return lambda v: v, math.inf
    if divergence == "forward_kl":
        return lambda v: -torch.log(-v), 0.0
    if divergence == "js":
        return lambda v: v - torch.log(2 - torch.exp(v)), math.log(2)
    if divergence == "alpha":
        return lambda v: -torch.log1p(-alpha * v) / alpha, 1 / alpha
    raise ValueError(f"unknown divergence {divergence!r}; expected one of {', '.join(get_args(Divergence))}")
