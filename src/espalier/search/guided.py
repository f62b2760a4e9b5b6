"""Decoding that is guided token by token: p(z) in proportion to policy(z) * exp(Q(z) / alpha) over the likeliest z.

`ValueGuided` takes Q from a scorer of prefixes (with the soft values of a reward and alpha = beta, this samples the
KL-regularised optimum exactly). `TransferQ` estimates it (Chakraborty et al. 2024, "Transfer Q*", arXiv 2405.20495):
a policy that was aligned already completes the text after each candidate, and the reward of what it wrote is Q; where
it was aligned to another reward its completions are weighted by exp((reward - its reward) / beta).

The engine must tell next tokens (`espalier.engines.base.TokenEngine`). A response is one node; candidates that were not
taken and the completions that judged them are dropped from the tree, and stay in the ledger.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from espalier.engines.base import Engine, Sampling
from espalier.errors import ConfigError
from espalier.search.aggregate import Extract, candidates, chosen
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.trees import Node


@dataclass
class Guided(Chunked):
    """What guided decoders share: `n` responses of each prompt, grown a token at a time; the best-scored is the answer.

    Attributes:
        n: responses.
        alpha: how far the guide may lead away from the policy: small follows the guide, large the policy.
        top_k: how many of the likeliest tokens are candidates.
        sampling: seed, `max_tokens` of a response, and temperature of the policy; 0 takes the best candidate.
        score: the name of the score that the scorer gives.
        vote: where given, the final answer of a response, and the responses take a score-weighted vote on it.
    """

    n: int = 1
    alpha: float = 1.0
    top_k: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    vote: Extract | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha > 0:
            raise ConfigError(f"{type(self).__name__}: alpha must be above 0, found {self.alpha}")

    @abstractmethod
    def q(self, chunk: Chunk, tokens: Sequence[Sequence[Node]]) -> list[list[float | None]]:
        """What each candidate token (attached to its response) is worth; None rules it out."""

    def grow(self, chunk: Chunk) -> list[Node | None]:
        rng = chunk.rng(self.sampling.seed)
        growing = [[tree.root.add(begun()) for _ in range(self.n)] for tree in chunk.trees]
        live = growing
        for _ in range(self.sampling.max_tokens):
            told = chunk.next_tokens(live, self.top_k)
            tokens = [
                [node.add(token) for node, found in zip(*of, strict=True) for token in found]
                for of in zip(live, told, strict=True)
            ]
            if not any(tokens):
                break
            worth = [dict(zip(*of, strict=True)) for of in zip(tokens, self.q(chunk, tokens), strict=True)]
            for nodes, found, of in zip(live, told, worth, strict=True):
                for node, some in zip(nodes, found, strict=True):
                    for token in some:
                        token.detach()
                    if some:
                        append(node, some[self._draw(some, [of[token] for token in some], rng)])
            live = [
                [node for node, found in zip(*of, strict=True) if found and node.stop != "eos"]
                for of in zip(live, told, strict=True)
            ]
        for node in [node for of in growing for node in of if not node.token_ids]:
            node.detach()  # the budget ended before its first token
        leaves = [tree.leaves() for tree in chunk.trees]
        chunk.score(self.score, of=[candidates(of) for of in leaves])
        return [chosen(of, self.score, self.vote) for of in leaves]

    def _draw(self, tokens: Sequence[Node], worth: Sequence[float | None], rng: np.random.Generator) -> int:
        heat = self.sampling.temperature
        logits = np.array(
            [
                -math.inf if q is None else _logprob(token) / (heat or 1.0) + q / self.alpha
                for token, q in zip(tokens, worth, strict=True)
            ]
        )
        if not np.isfinite(logits).any():  # nobody could judge any of them: the policy's own choice
            logits = np.array([_logprob(token) for token in tokens])
        mass = np.exp(logits - logits.max())
        return int(logits.argmax()) if heat == 0 else int(rng.choice(len(tokens), p=mass / mass.sum()))


@dataclass
class ValueGuided(Guided):
    """Guided by a scorer's value of the text up to and with each candidate token."""

    name = "value-guided"

    def q(self, chunk: Chunk, tokens: Sequence[Sequence[Node]]) -> list[list[float | None]]:
        chunk.score(self.score, of=tokens)
        return [[token.value(self.score) for token in of] for of in tokens]


@dataclass
class TransferQ(Guided):
    """Guided by the reward of completions that an aligned policy writes after each candidate token.

    Attributes:
        baseline: the engine of the aligned policy; None for the search's own engine, which makes Q that of the policy
            that is decoded, the estimate which Transfer Q* improves on.
        rollouts: completions of each candidate.
        baseline_score: the name of the reward that the baseline was aligned to, where it is another than `score`
            (the paper's indirect transfer).
        beta: the strength of the KL penalty under which it was.
    """

    baseline: Engine | None = None
    rollouts: int = 1
    baseline_score: str | None = None
    beta: float = 1.0
    name = "transfer-q"

    def others(self) -> list[Engine]:
        return [] if self.baseline is None else [self.baseline]

    def q(self, chunk: Chunk, tokens: Sequence[Sequence[Node]]) -> list[list[float | None]]:
        going = [[token for token in of if token.stop != "eos"] for of in tokens]
        grown = chunk.branches(going, self.rollouts, self.sampling, self.baseline)
        ends = {
            token: found
            for some, of in zip(going, grown, strict=True)
            for token, found in zip(some, of, strict=True)
            if found
        }
        reached = [[end for token in of for end in ends.get(token, [token])] for of in tokens]
        chunk.score(self.score, of=reached)
        return [[self._mean(ends.get(token, [token])) for token in of] for of in tokens]

    def _mean(self, ends: Sequence[Node]) -> float | None:
        """The mean reward, weighted for the reward that the baseline did not know."""
        known = [(value, end) for end in ends if (value := end.value(self.score)) is not None]
        if not known:
            return None
        if self.baseline_score is None:
            return fmean(value for value, _ in known)
        gaps = [value - (end.value(self.baseline_score) or 0.0) for value, end in known]
        weights = [math.exp((gap - max(gaps)) / self.beta) for gap in gaps]
        return math.fsum(w * value for w, (value, _) in zip(weights, known, strict=True)) / math.fsum(weights)


def begun() -> Node:
    """A response that has no token yet."""
    return Node("", token_ids=[], logprobs=[], stop="length")


def append(node: Node, token: Node) -> Node:
    """Add a token to the end of a response; what was said of the response before is forgotten."""
    assert node.token_ids is not None
    assert node.logprobs is not None
    node.text += token.text
    node.token_ids += token.token_ids or []
    node.logprobs += token.logprobs or []
    node.stop, node.scores = token.stop, {}
    return node


def _logprob(token: Node) -> float:
    assert token.logprobs
    return token.logprobs[0]
