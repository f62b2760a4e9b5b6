"""The nodes with which an engine answers `next_tokens`, once it knows the tokens and their probabilities."""

from __future__ import annotations

from collections.abc import Container, Sequence

from espalier.engines.stops import Decoder
from espalier.trees import Node


def next_token_nodes(
    decoder: Decoder, before: Sequence[int], told: Sequence[tuple[list[int], list[float]]], ends: Container[int]
) -> list[list[Node]]:
    """For each prefix a node for each token that may follow it, in order; all texts are decoded at once.

    Args:
        decoder: of the engine.
        before: the last token of each prefix.
        told: for each prefix the tokens, and their log-probs in nats.
        ends: the tokens that end a text; they add nothing to it.
    """
    pairs = [(last, token) for last, (tokens, _) in zip(before, told, strict=True) for token in tokens]
    texts = iter(decoder.texts([last for last, _ in pairs], [[] if token in ends else [token] for _, token in pairs]))
    return [
        [
            Node(next(texts), token_ids=[token], logprobs=[logprob], stop="eos" if token in ends else "length")
            for token, logprob in zip(tokens, logprobs, strict=True)
        ]
        for tokens, logprobs in told
    ]
