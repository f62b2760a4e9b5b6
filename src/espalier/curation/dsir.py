"""Data like a target: importance resampling with weights from hashed n-grams (DSIR, Xie et al. 2023, arXiv 2302.03169).

A bag-of-n-grams model of the target and one of the raw data give each text a weight, `target(text) / raw(text)`.
Sampling by these weights without replacement, which is to keep the k greatest `log weight + Gumbel noise`,
gives a set that is distributed like the target. Without the noise it would be the k texts most unlike the raw data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from espalier.curation.ngrams import hashed_ngrams, text_of, words
from espalier.curation.take import how_many, noted
from espalier.trees import Forest

Counts = Int[np.ndarray, "texts buckets"]


def bag(counts: Counts, smoothing: float = 1e-8) -> Float[np.ndarray, "buckets"]:
    """The share of each bucket among all n-grams, with a little for those never seen."""
    total = counts.sum(0, dtype=np.float64)
    return total / max(total.sum(), 1.0) + smoothing


def log_weights(raw: Counts, target: Counts, smoothing: float = 1e-8) -> Float[np.ndarray, "texts"]:
    """`log target(text) - log raw(text)` of each raw text, in nats: the sum over its n-grams."""
    return raw @ (np.log(bag(target, smoothing)) - np.log(bag(raw, smoothing)))


def gumbel_top_k(weights: Float[np.ndarray, "texts"], count: int, rng: np.random.Generator) -> Int[np.ndarray, "count"]:
    """A sample without replacement in proportion to `exp(weights)`, in the order in which it would be drawn."""
    return np.argsort(-(weights + rng.gumbel(size=len(weights))), kind="stable")[:count]


def kl_reduction(selected: Counts, raw: Counts, target: Counts, smoothing: float = 1e-8) -> float:
    """How much nearer to the target a selection lies than the raw data, in nats of n-grams.

    `KL(target || raw) - KL(target || selected)`, between bags of n-grams. Above 0: the selection is more like the
    target; it foretells how well a model does there that is trained on the selection.
    """
    wanted = bag(target, smoothing)
    return float(wanted @ (np.log(bag(selected, smoothing)) - np.log(bag(raw, smoothing))))


def dsir(
    forest: Forest,
    target: Forest,
    keep: float,
    seed: int = 0,
    buckets: int = 10_000,
    text: Callable[[Any], str] = text_of,
) -> Forest:
    """A sample of the forest that is distributed like the target; the log weight is noted as "dsir".

    Args:
        keep: a share of the trees, or a number.
        text: what a tree says; by default prompt and responses.
    """
    raw, wanted = (hashed_ngrams([text(tree) for tree in trees], buckets, split=words) for trees in (forest, target))
    weights = log_weights(raw, wanted)
    taken = gumbel_top_k(weights, how_many(keep, len(weights)), np.random.default_rng(seed))
    return Forest([noted(forest[int(place)].copy(), "dsir", float(weights[place])) for place in sorted(taken)])
