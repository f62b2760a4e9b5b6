"""How certain a model is of what was written: self-certainty, entropy and likelihood, means over a response's tokens.

Self-certainty (Kang et al. 2025, arXiv 2502.18581) is the divergence of the next-token distribution from the uniform
one, KL(uniform || p) = -log V - mean over the vocabulary of log p, in nats: 0 where the model has no idea, large where
it has ruled most of the vocabulary out. Likelihood asks of the token that was taken, these two of the whole
distribution. Each needs nothing but the policy itself, may rank samples (`BestOfN`), and weigh their votes
(`BordaVote`). All are the larger, the more certain.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from espalier.models import Model, Packed
from espalier.models.logprobs import logit_rule, output_layer
from espalier.models.numerics import Setting
from espalier.scorers.models import ModelScorer
from espalier.trees import Node

_LOGITS = 2**22  # logits at a time


class Certainty(ModelScorer):
    """The mean of a number over the tokens that the policy or a human wrote, from the prompt to each leaf.

    A leaf that only pauses is judged too, so that a search by steps can go by it.
    """

    def __init__(self, model: Model, name: str, tokens: int = 8192, precision: Setting = "auto") -> None:
        super().__init__(model, name, tokens, precision)
        output_layer(model.hf)  # raises where there is none

    @abstractmethod
    def each(self, packed: Packed) -> Float[Tensor, "targets"]:
        """The number of each token, in nats."""

    def wants(self, node: Node) -> bool:
        return node.ends_response and node.author in ("policy", "human")

    def judge(self, packed: Packed) -> Iterable[tuple[Node, float]]:
        values = self.each(packed).float()
        means = packed.leaf_sums(values) / packed.leaf_sums(torch.ones_like(values))
        return zip((packed.nodes[leaf] for leaf in packed.leaves.tolist()), means.tolist(), strict=True)


class SelfCertainty(Certainty):
    """The mean of KL(uniform || p)."""

    def __init__(
        self, model: Model, name: str = "self-certainty", tokens: int = 8192, precision: Setting = "auto"
    ) -> None:
        super().__init__(model, name, tokens, precision)

    def each(self, packed: Packed) -> Float[Tensor, "targets"]:
        hidden = self.model.hidden(packed).index_select(0, packed.predictors)
        layer, rule = output_layer(self.model.hf), logit_rule(self.model.hf)
        size = max(1, _LOGITS // len(layer.weight))
        found = [hidden.new_zeros(0, dtype=torch.float32)]
        for rows in hidden.split(size):
            logprobs = rule(layer(rows.to(layer.weight.dtype)).float()).log_softmax(-1)
            found.append(-math.log(logprobs.shape[-1]) - logprobs.mean(-1))
        return torch.cat(found)


class Entropy(Certainty):
    """The mean entropy of the next-token distributions, with a minus sign."""

    def __init__(
        self, model: Model, name: str = "negative entropy", tokens: int = 8192, precision: Setting = "auto"
    ) -> None:
        super().__init__(model, name, tokens, precision)

    def each(self, packed: Packed) -> Float[Tensor, "targets"]:
        entropy = self.model(packed, entropy=True).entropy
        assert entropy is not None
        return -entropy


class Likelihood(Certainty):
    """The mean log-prob of the tokens, which is minus the log of their perplexity."""

    def __init__(self, model: Model, name: str = "likelihood", tokens: int = 8192, precision: Setting = "auto") -> None:
        super().__init__(model, name, tokens, precision)

    def each(self, packed: Packed) -> Float[Tensor, "targets"]:
        logprobs = self.model(packed).logprobs
        assert logprobs is not None
        return logprobs
