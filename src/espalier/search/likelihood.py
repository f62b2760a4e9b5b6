"""Decoders between likelihood and utility (Josifoski et al. 2023, "Language model decoding as likelihood-utility
alignment", arXiv 2210.07228): beam search over tokens by log-likelihood, by a value, or by a mixture of both.

Where likely texts are good ones, a beam by likelihood finds them; where they are not, a value must lead (and a value is
worth no more than its scorer). `espalier.audit.likelihood_utility` measures which of the two a task is. The paper's
other decoders are `Greedy` and, with `Sampling(max_tokens=1)` and `stop=""` for steps of one token, `MCTS`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from espalier.errors import ConfigError
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.guided import append, begun
from espalier.trees import Node


@dataclass
class TokenBeam(Chunked):
    """The `width` best responses are extended by each of their likeliest tokens, and the best of those are kept.

    A response is ranked by (1 - value_weight) * log-likelihood / length ** length_penalty + value_weight * value. One
    that ended keeps its place and its rank. The answer is the best in the end.

    Attributes:
        width: how many responses.
        top_k: how many next tokens of each are looked at.
        max_tokens: of a response.
        value_weight: 0 needs no scorer; 1 is value-guided beam search.
        length_penalty: 0 ranks by log-likelihood, 1 by its mean over tokens.
        score: the name of the score that the scorer gives to every prefix.
    """

    width: int = 4
    max_tokens: int = 256
    value_weight: float = 0.0
    top_k: int = 8
    length_penalty: float = 0.0
    score: str = "value"
    name = "token-beam"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.value_weight <= 1:
            raise ConfigError(f"value_weight must be between 0 and 1, found {self.value_weight}")

    def grow(self, chunk: Chunk) -> list[Node | None]:
        beams = [[tree.root.add(begun())] for tree in chunk.trees]
        for _ in range(self.max_tokens):
            live = [[node for node in of if node.stop != "eos"] for of in beams]
            told = chunk.next_tokens(live, self.top_k)
            if not any(found for of in told for found in of):
                break
            pools = []
            for tree, of, some, found in zip(chunk.trees, beams, live, told, strict=True):
                stay = [node for node in of if node.stop == "eos"]
                stay += [node for node, tokens in zip(some, found, strict=True) if not tokens]
                pairs = zip(some, found, strict=True)
                new = [tree.root.add(_grown(node, token)) for node, tokens in pairs for token in tokens]
                pools.append(stay + new)
            if self.value_weight:
                chunk.score(self.score, of=pools)
            kept = [sorted(pool, key=self.rank, reverse=True)[: self.width] for pool in pools]
            for tree, of in zip(chunk.trees, kept, strict=True):
                for node in set(tree.root.children) - set(of):
                    node.detach()
            beams = kept
        for node in [node for of in beams for node in of if not node.token_ids]:
            node.detach()  # the budget ended before its first token
        return [max(tree.leaves(), key=self.rank, default=None) for tree in chunk.trees]

    def rank(self, node: Node) -> float:
        """By which responses are compared; one that should have a value and has none comes last."""
        likely = math.fsum(node.logprobs or ()) / max(1, len(node.logprobs or ())) ** self.length_penalty
        if not self.value_weight:
            return likely
        value = node.value(self.score)
        return -math.inf if value is None else (1 - self.value_weight) * likely + self.value_weight * value


def _grown(node: Node, token: Node) -> Node:
    """A copy of a response with one more token."""
    ids: Sequence[int] = node.token_ids or []
    return append(Node(node.text, token_ids=[*ids], logprobs=[*(node.logprobs or [])]), token)
