"""The first protocol: who continues a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from espalier.errors import ConfigError, ContextLengthError
from espalier.trees import Ledger, Node


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw continuations.

    Attributes:
        max_tokens: at most this many new tokens.
        temperature: divides the logits; 0 is greedy.
        top_p: keep the smallest set of tokens with at least this probability; 1 keeps all.
        top_k: keep this many tokens; 0 keeps all.
        stop: strings that end a continuation; the one that was met stays at the end of the text.
        seed: the same seed, prefixes and engine give the same continuations.

    Raises:
        ConfigError: a setting out of range.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, found {self.max_tokens}")
        if self.temperature < 0:
            raise ConfigError(f"temperature must not be negative, found {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be in (0, 1], found {self.top_p}")
        if self.top_k < 0:
            raise ConfigError(f"top_k must not be negative, found {self.top_k}")
        if isinstance(self.stop, str):
            raise ConfigError(f"stop must be a tuple of strings, found {self.stop!r}; write stop=({self.stop!r},)")
        object.__setattr__(self, "stop", tuple(self.stop))  # a list, say, of a config file


@runtime_checkable
class Engine(Protocol):
    """Anything that can go on from a place in a tree."""

    spent: Ledger
    """Everything this engine has spent so far."""

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        """For each prefix, `n` continuations as new nodes, not yet attached to the tree.

        A prefix is a node; what is continued is the text from its root to its end. Each returned node has text, token
        ids, log-probs and stop reason. The caller attaches those it keeps: `prefix.add(node)`.

        A continuation may be a chain, where others speak in it (policy text, a tool's answer, policy text): then the
        first node is returned, with the rest below it, each node the only child of the one before.

        Raises:
            ContextLengthError: a prefix leaves no room for a token.
            EngineError: the engine died or refused.
        """
        ...


@runtime_checkable
class TokenEngine(Engine, Protocol):
    """An engine that also tells how probable each next token is: what decoding that is guided token by token needs."""

    def next_tokens(self, prefixes: Sequence[Node], k: int) -> list[list[Node]]:
        """For each prefix, its `k` likeliest next tokens (all, where there are fewer), best first.

        Each is a new node of one token, not attached, with its text and its log-prob at temperature 1; `stop` is "eos"
        for a token that ends the text, else "length". In the ledger a prefix counts as one generated token.

        Raises:
            ContextLengthError: a prefix leaves no room for a token.
        """
        ...


def unless_full(
    prefixes: Sequence[Node],
    ask: Callable[[Sequence[Node]], list[list[Node]]],
    may_be_full: Callable[[Node], bool] = lambda prefix: True,
) -> list[list[Node]]:
    """What an engine answers to `ask(prefixes)`, with nothing for the prefixes that have filled the context.

    An engine refuses the whole call for one such prefix, so the call is halved until that one stands alone.

    Raises:
        ContextLengthError: a prefix has filled the context that may not.
    """
    if not prefixes:
        return []
    try:
        return ask(prefixes)
    except ContextLengthError:
        if len(prefixes) == 1:
            if not may_be_full(prefixes[0]):
                raise
            return [[]]
        half = len(prefixes) // 2
        return unless_full(prefixes[:half], ask, may_be_full) + unless_full(prefixes[half:], ask, may_be_full)
