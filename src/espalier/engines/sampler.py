"""Draw one token a row: inverse-CDF sampling with a random number that belongs to the row and not to the batch.

A categorical draw needs one uniform number, so a row's whole randomness is a stream of them. The stream is counter
based (SplitMix64, Steele, Lea & Flood 2014): number `step` of stream `key` is a hash of both. What a row draws
therefore does not depend on which other rows share its batch, or on when it entered.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from espalier.errors import EngineError

_CANDIDATES = 64  # how many of the likeliest tokens top-p looks at before it looks at more


class Drawn(NamedTuple):
    """One token for each row.

    Attributes:
        tokens: the token ids.
        logprobs: nats, under the distribution at the sampling temperature before top-p and top-k cut it.
        cut: probability mass that top-p and top-k cut away; None where they cut nothing by definition.
    """

    tokens: Int[Tensor, "rows"]
    logprobs: Float[Tensor, "rows"]
    cut: Float[Tensor, "rows"] | None


def streams(seed: int, prefix: list[int], occurrence: int, n: int) -> NDArray[np.uint64]:
    """The keys of `n` streams that depend on the seed, the prefix's tokens, and nothing else in the call.

    `occurrence` tells equal prefixes of one call apart. Since the tokens are in the key, the segments along a path of
    a tree draw independent numbers even where every call has the same seed.
    """
    state = blake2b(np.asarray([seed, occurrence, *prefix], dtype=np.int64).tobytes(), digest_size=8)
    keys = np.uint64(int.from_bytes(state.digest(), "little")) + np.arange(1, n + 1, dtype=np.uint64)
    return _mix(keys * np.uint64(0xD1342543DE82EF95))


def uniforms(keys: NDArray[np.uint64], steps: NDArray[Any]) -> NDArray[np.float32]:
    """Number `steps[i]` of stream `keys[i]`, uniform on the multiples of 2^-24 in [0, 1)."""
    bits = _mix(keys + (steps.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))
    return (bits >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(
    logits: Float[Tensor, "rows vocabulary"],
    uniform: Float[Tensor, "rows"],
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
) -> Drawn:
    """One token a row from softmax(logits / temperature), cut to the top k, then to the smallest set with mass p.

    Where both cut, p is a share of the mass that top-k kept. Temperature 0 takes the likeliest token, its log-prob is
    the one at temperature 1, and nothing is cut.

    Raises:
        EngineError: the logits of a row are NaN or +inf, or all -inf.
    """
    scaled = logits.float()
    if temperature not in (0, 1):
        scaled = scaled / temperature
    best = scaled.amax(-1, keepdim=True)
    weights = (scaled - best).exp_()
    total = weights.sum(-1, keepdim=True)
    if not torch.isfinite(total).all():
        rows = (~torch.isfinite(total)).sum().item()
        raise EngineError(
            f"the model's logits are not finite in {rows} of {len(logits)} rows; its weights are probably damaged "
            "(NaN after a diverged training step, or overflow in half precision)"
        )
    cut = None
    if temperature == 0:
        picked = scaled.argmax(-1, keepdim=True)
    elif top_p < 1 or top_k > 0:
        picked, cut = _draw_cut(scaled, best, total, uniform[:, None], top_p, top_k)
    else:
        picked = _invert(weights.cumsum(-1), uniform[:, None])
    logprobs = scaled.gather(-1, picked) - best - total.log()
    return Drawn(picked[:, 0], logprobs[:, 0], cut)


def _invert(cdf: Float[Tensor, "rows items"], uniform: Float[Tensor, "rows 1"]) -> Int[Tensor, "rows 1"]:
    """The first item whose cumulative weight exceeds `uniform` times the row's total; never one of weight 0.

    In fp32, (1 - 2^-24) * total is always below total, so that an item is always found.
    """
    return torch.searchsorted(cdf, uniform * cdf[:, -1:], right=True)


def _draw_cut(
    scaled: Float[Tensor, "rows vocabulary"],
    best: Float[Tensor, "rows 1"],
    total: Float[Tensor, "rows 1"],
    uniform: Float[Tensor, "rows 1"],
    top_p: float,
    top_k: int,
) -> tuple[Int[Tensor, "rows 1"], Float[Tensor, "rows"]]:
    """The draw where top-p or top-k cut: from the likeliest tokens in falling order, without a sort of all tokens."""
    vocabulary = scaled.shape[-1]
    count = min(top_k or _CANDIDATES, vocabulary)
    while True:
        values, tokens = scaled.topk(count)
        share = (values - best).exp_() / total
        mass = share.cumsum(-1)
        if top_k or count == vocabulary or (mass[:, -1] >= top_p).all():
            break
        count = min(4 * count, vocabulary)
    if top_p < 1:
        wanted = top_p * (mass[:, -1:] if top_k else 1.0)
        share = torch.where(mass - share < wanted, share, 0.0)
        share[:, 0] = share[:, 0].clamp(min=torch.finfo(share.dtype).tiny)
        mass = share.cumsum(-1)
    return tokens.gather(-1, _invert(mass, uniform)), (1 - mass[:, -1]).clamp(min=0)
