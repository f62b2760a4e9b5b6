"""Languages for search: a reward that builds up along the string, so that beginnings tell something about ends."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from espalier import Forest, Found, Node, Tree
from espalier.exact import Language, Policy, Tabular, place, soft_values
from espalier.search import best


def language(length: int, prompts: int = 8, symbols: str = "ab") -> Language:
    """Strings of exactly this length over a few symbols, after several prompts."""
    names = map("".join, product(symbols, repeat=4))
    return Language(
        symbols, length, end=False, prompts=tuple(name for name, _ in zip(names, range(prompts), strict=False))
    )


def levels(of: Language) -> Iterator[tuple[slice, slice]]:
    """From the shortest texts to the longest: those of one length, and those that are a symbol longer."""
    return pairwise([slice(*bounds) for bounds in pairwise(of.starts)])


def so_far(of: Language, seed: int, fade: float = 1.0) -> Tensor:
    """What every text has earned, "prompts texts": each symbol adds a normal number that depends on all before it.

    Scaled so that the whole strings' earnings have mean 0 and standard deviation 1.

    Args:
        fade: how much a symbol's number counts next to that of the symbol before it.
    """
    shape = (len(of.prompts), len(of.texts))
    total = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for length, (above, level) in enumerate(levels(of), 1):
        before = total[:, above].repeat_interleave(len(of.symbols), 1)
        total[:, level] = fade**length * total[:, level] + before
    ends = total[:, of.first :]
    return (total - ends.mean(1, keepdim=True)) / ends.std(1, keepdim=True)


def built_up(of: Language, seed: int, fade: float = 1.0) -> Tensor:
    """The rewards of the strings, "prompts strings": what they have earned in the end."""
    return so_far(of, seed, fade)[:, of.first :]


def forecasts(policy: Tabular, reward: Tensor, noise: float, seed: int) -> Tensor:
    """The expected reward after each prefix, with normal noise of this standard deviation."""
    exact = soft_values(policy.language, policy.next_logprobs().detach(), reward, torch.inf).value
    return exact + noise * torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def learned(policy: Tabular, reward: Tensor, error: float, seed: int) -> Tensor:
    """What a value model says of every text, "prompts texts": the expected reward after it, and a mistake.

    The mistake builds up as a reward does, so that a text inherits the mistakes about its beginning. At the ends it has
    this standard deviation.
    """
    exact = torch.cat([forecasts(policy, reward, 0.0, seed), reward], 1)
    return exact + error * so_far(policy.language, seed)


class Fixed(Policy):
    """A policy as it stands: its law is worked out once, not at each call of an engine."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy.language)
        self.law = policy.next_logprobs().detach()

    def next_logprobs(self) -> Tensor:
        return self.law


def problems(of: Language) -> Forest:
    """The bare prompts."""
    return Forest([Tree(Node(prompt, "prompt"), id=prompt) for prompt in of.prompts])


def gained(found: Found, of: Language, reward: Tensor) -> float:
    """The mean true reward of the answers; the lowest there is where a search found none.

    Where no string has an end token a search cannot tell a whole one from a beginning that it dropped, and may answer
    with that if the score of a beginning is higher. Then its best whole string counts.
    """
    values = []
    for number, (tree, answer) in enumerate(zip(found.forest, found.answers, strict=True)):
        if answer is None or place(of, answer).string is None:
            answer = best([leaf for leaf in tree.leaves() if place(of, leaf).string is not None], "value")
        string = None if answer is None else place(of, answer).string
        values.append(float(reward[number].min() if string is None else reward[number, string]))
    return sum(values) / len(values)


def by_symbol(of: Language) -> dict[str, Any]:
    """The settings of a search whose steps are single symbols: a string that has filled up has ended, and no other."""
    return {"stop": tuple(of.symbols), "max_steps": of.length}
