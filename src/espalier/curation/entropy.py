"""Prompts on which the policy itself is unsure what to write: the first sieve of active preference learning.

Muldrew et al. 2024 (arXiv 2402.08114): the predictive entropy of the policy's responses, by Monte Carlo.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from espalier.curation.take import take
from espalier.trees import Forest, Node, Tree


def predictive_entropy(logprobs: Float[np.ndarray, "*prompts samples"]) -> Float[np.ndarray, "*prompts"]:
    """The Monte Carlo entropy of a prompt's responses in nats: `-mean log p` of samples of the policy itself."""
    return -np.asarray(logprobs).mean(-1)


def uncertain(forest: Forest, keep: float) -> Forest:
    """The prompts of the most predictive entropy, by their responses' log-probs as sampled; noted as "entropy".

    Args:
        keep: a share of the prompts whose responses all have log-probs, or a number.
    """

    def entropy(tree: Tree) -> float | None:
        found = [_sampled(leaf) for leaf in tree.leaves()]
        there = [value for value in found if value is not None]
        return float(predictive_entropy(np.array(there))) if there and len(there) == len(found) else None

    return take(forest, [entropy(tree) for tree in forest], keep, "entropy")


def _sampled(leaf: Node) -> float | None:
    """The log-prob of the policy's part of a response; None where a segment lacks it."""
    segments = [node.logprobs for node in leaf.path() if node.author == "policy"]
    return None if not segments or None in segments else sum(sum(one) for one in segments if one is not None)
