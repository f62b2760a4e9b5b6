"""A response token by token: for each number that its tokens carry, its text as a strip of that colour.

What the tokens carry are the log-probs as sampled and the node's streams, such as the value and the advantage that
`espalier.scorers.TokenView` writes. Log-probs are coloured by the probability: orange is what surprised the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from espalier.report.colour import Scale
from espalier.report.figures import number
from espalier.trees import Node, Tree, read_stream
from espalier.trees.streams import TOKEN_ENDS, pieces

HEATS = 21
"""Colours of the scale, from low to high, each a class of the style sheet."""

SAMPLED = "log-prob as sampled"


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its text, what is said of it, and its place on the scale (None without a number)."""

    text: str
    said: str
    heat: int | None


@dataclass(frozen=True, slots=True)
class Strip:
    """A node's tokens, coloured by one number."""

    name: str
    tokens: list[Token]


class Strips:
    """The strips of a tree, on one scale a name."""

    def __init__(self, tree: Tree) -> None:
        found: dict[str, list[float]] = {}
        for node in tree.walk():
            for name, values in _carried(node).items():
                found.setdefault(name, []).extend(value for value in values if math.isfinite(value))
        self.scales = {name: Scale.of(_coloured(name, values)) for name, values in found.items() if values}

    @property
    def names(self) -> list[str]:
        return list(self.scales)

    def of(self, node: Node) -> list[Strip]:
        """One strip a name; none where it is not known which token wrote what."""
        texts = pieces(node)
        if texts is None:
            return []
        return [
            Strip(name, [self._token(name, text, value) for text, value in zip(texts, values, strict=True)])
            for name, values in _carried(node).items()
            if name in self.scales
        ]

    def _token(self, name: str, text: str, value: float) -> Token:
        # A token without text (the end of a response) or of a line break alone would be an invisible one.
        shown = text.replace("\n", "⏎\n") or "∎"
        if not math.isfinite(value):
            return Token(shown, "", None)
        scale = self.scales[name]
        [on_scale] = _coloured(name, [value])
        share = (on_scale - scale.low) / (scale.high - scale.low)
        return Token(shown, number(value), round(share * (HEATS - 1)))


def heat_rules() -> str:
    """The style sheet's classes for the colours."""
    scale = Scale(0.0, HEATS - 1.0)
    return "".join(f".h{i}{{background:{scale.colour(i)};color:{scale.ink(i)}}}" for i in range(HEATS))


def _carried(node: Node) -> dict[str, Sequence[float]]:
    """The numbers of a node's tokens, by name."""
    if node.token_ids is None or pieces(node) is None:
        return {}
    streams = {name: read_stream(node, name) for name in node.streams if name != TOKEN_ENDS}
    found = {name: values.tolist() for name, values in streams.items() if values is not None}
    return ({SAMPLED: node.logprobs} if node.logprobs is not None else {}) | found


def _coloured(name: str, values: Sequence[float]) -> list[float]:
    return [math.exp(min(value, 0.0)) for value in values] if name.startswith(("logprob", "log-prob")) else list(values)
