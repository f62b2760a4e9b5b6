"""A language so small that all of its strings are written down: sums over strings take the place of samples.

A string is up to `length` symbols. It ends with the end token or, at full length, by itself, as a sampler with
`max_tokens=length` ends it. So every next-token distribution of a language model with this vocabulary counts, and the
probabilities of all strings add up to 1 with no constraint on the model.

The texts form a tree in which each node has a child for each symbol. They are numbered level by level: text 0 is empty,
and text `n` with symbol `s` is text `n * symbols + s + 1`. The first `prefixes` of them can go on; the others are full.
With an end token every text is one string (string `n` says text `n`, then ends); without, only the full ones are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from espalier.errors import ConfigError


@dataclass(frozen=True)
class Language:
    """Symbols, a greatest length, and prompts spelled with the same symbols.

    >>> language = Language("ab", length=2)
    >>> language.strings, language.prefixes, language.tokens
    (('', 'a', 'b', 'aa', 'ab', 'ba', 'bb'), 3, 3)
    >>> bandit(3).strings
    ('a', 'b', 'c')

    Attributes:
        symbols: one character each; the i-th is token i, the end token comes after them.
        length: the most symbols in a string.
        end: whether a string may end early. Without, all strings have `length` symbols.
        prompts: what the strings are responses to; a model sees them, a table has rows for each. "ab" where none is
            given. To a transformer with rotary positions and no start token "a" and "aa" are the same (its attention
            averages equal values), so a prompt for one should hold two different symbols; gpt2 tells them apart.

    Raises:
        ConfigError: no or repeated symbols, no length, or a prompt that is empty, repeated or not of the symbols.
    """

    symbols: str = "ab"
    length: int = 3
    end: bool = True
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.symbols or len(set(self.symbols)) < len(self.symbols):
            raise ConfigError(f"a language needs distinct symbols, found {self.symbols!r}")
        if self.length < 1:
            raise ConfigError(f"length must be at least 1, found {self.length}")
        if not self.prompts:
            object.__setattr__(self, "prompts", (self.symbols[:2],))
        wrong = [prompt for prompt in self.prompts if not prompt or not set(prompt) <= set(self.symbols)]
        if wrong or len(set(self.prompts)) < len(self.prompts):
            raise ConfigError(f"prompts must be distinct and of the symbols {self.symbols!r}, found {self.prompts}")

    @property
    def tokens(self) -> int:
        """The size of the vocabulary: the symbols, and the end token where there is one."""
        return len(self.symbols) + self.end

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The number of the first text of each length, and the number of all texts."""
        return tuple(sum(len(self.symbols) ** k for k in range(depth)) for depth in range(self.length + 2))

    @property
    def prefixes(self) -> int:
        """How many texts can go on."""
        return self.starts[self.length]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Every text, level by level."""
        found, width = [""], len(self.symbols)
        for n in range(1, self.starts[-1]):
            found.append(found[(n - 1) // width] + self.symbols[(n - 1) % width])
        return tuple(found)

    @property
    def first(self) -> int:
        """The text of string 0: string `i` says text `first + i`."""
        return 0 if self.end else self.prefixes

    @property
    def strings(self) -> tuple[str, ...]:
        """What each string says."""
        return self.texts[self.first :]

    def child(self, text: int, token: int) -> int:
        """The text after one more symbol."""
        return text * len(self.symbols) + token + 1

    def ids(self, string: int) -> list[int]:
        """The token ids of a string, with the end token where it has one."""
        text = self.texts[self.first + string]
        ended = [len(self.symbols)] if len(text) < self.length else []
        return [self.symbols.index(symbol) for symbol in text] + ended

    @cached_property
    def paths(
        self,
    ) -> tuple[Int[Tensor, "strings length"], Int[Tensor, "strings length"], Bool[Tensor, "strings length"]]:
        """For each token of each string: the prefix that it follows, the token, and whether it is there at all."""
        before = torch.zeros(len(self.strings), self.length, dtype=torch.long)
        token, there = before.clone(), torch.zeros_like(before, dtype=torch.bool)
        for string in range(len(self.strings)):
            prefix = 0
            for place, chosen in enumerate(self.ids(string)):
                before[string, place], token[string, place], there[string, place] = prefix, chosen, True
                prefix = self.child(prefix, chosen)
        return before, token, there

    def token_logprobs(
        self, following: Float[Tensor, "*prompts prefixes tokens"]
    ) -> Float[Tensor, "*prompts strings length"]:
        """The log-prob of each token of each string, 0 where a string has ended; from the next-token log-probs."""
        before, token, there = self.paths
        return torch.where(there, following[..., before, token], 0.0)

    def string_logprobs(
        self, following: Float[Tensor, "*prompts prefixes tokens"]
    ) -> Float[Tensor, "*prompts strings"]:
        """The log-prob of each string; their exponentials add up to 1."""
        return self.token_logprobs(following).sum(-1)

    def levels(
        self, strings: Float[Tensor, "*prompts strings"]
    ) -> Iterator[tuple[slice, Float[Tensor, "*prompts level"] | None]]:
        """From the longest prefixes back to the empty one: which they are, and the value of ending there."""
        for depth in reversed(range(self.length)):
            level = slice(self.starts[depth], self.starts[depth + 1])
            yield level, strings[..., level] if self.end else None

    def next_logprobs(self, law: Float[Tensor, "*prompts strings"]) -> Float[Tensor, "*prompts prefixes tokens"]:
        """The next-token log-probs under which the strings have these log-probs; uniform after impossible prefixes."""
        mass = law[..., self.prefixes - self.first :]
        found = []
        for level, ending in self.levels(law):
            joint = _branches(mass, level, len(self.symbols), ending)
            mass = joint.logsumexp(-1)
            possible = (mass > -torch.inf)[..., None]
            uniform = -torch.log(torch.tensor(float(self.tokens), dtype=law.dtype))
            found.append(torch.where(possible, joint - mass[..., None].where(possible, 0.0), uniform))
        return torch.cat(found[::-1], -2)


def _branches(children: Tensor, level: slice, symbols: int, ending: Tensor | None) -> Tensor:
    """What lies behind each token of each prefix of a level: its children's values, then that of ending."""
    branches = children.unflatten(-1, (level.stop - level.start, symbols))
    return branches if ending is None else torch.cat([branches, ending[..., None]], -1)


def bandit(arms: int, prompts: int = 1) -> Language:
    """Strings of one symbol: a bandit with an arm for each, the smallest problem with all that a theorem needs."""
    symbols = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[: max(arms, prompts)]
    if arms != len(symbols):
        raise ConfigError(f"a bandit has between {prompts} (a symbol for each prompt) and 52 arms, found {arms}")
    return Language(symbols, length=1, end=False, prompts=tuple(symbols[:prompts]))
