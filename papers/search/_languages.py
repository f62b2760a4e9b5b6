"""Languages for search: a reward that builds up along the string, so that beginnings tell something about ends."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from espalier import Forest, Found, Node, Tree
from espalier.exact import Language, Tabular, place, soft_values


def language(length: int, prompts: int = 8, symbols: str = "ab") -> Language:
    """Strings of exactly this length over a few symbols, after several prompts."""
    names = map("".join, product(symbols, repeat=4))
    return Language(
        symbols, length, end=False, prompts=tuple(name for name, _ in zip(names, range(prompts), strict=False))
    )


def so_far(of: Language, seed: int) -> Tensor:
    """What every text has earned, "prompts texts": each symbol adds a normal number that depends on all before it.

    Scaled so that the whole strings' earnings have mean 0 and standard deviation 1.
    """
    shape = (len(of.prompts), len(of.texts))
    adds = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total = adds.clone()
    for text in range(1, len(of.texts)):
        total[:, text] += total[:, (text - 1) // len(of.symbols)]
    ends = total[:, of.first :]
    return (total - ends.mean(1, keepdim=True)) / ends.std(1, keepdim=True)


def built_up(of: Language, seed: int) -> Tensor:
    """The rewards of the strings, "prompts strings": what they have earned in the end."""
    return so_far(of, seed)[:, of.first :]


def forecasts(policy: Tabular, reward: Tensor, noise: float, seed: int) -> Tensor:
    """The expected reward after each prefix, with normal noise of this standard deviation."""
    exact = soft_values(policy.language, policy.next_logprobs().detach(), reward, torch.inf).value
    return exact + noise * torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problems(of: Language) -> Forest:
    """The bare prompts."""
    return Forest([Tree(Node(prompt, "prompt"), id=prompt) for prompt in of.prompts])


def gained(found: Found, of: Language, reward: Tensor) -> float:
    """The mean true reward of the answers; the lowest there is where a search found none."""
    values = []
    for number, answer in enumerate(found.answers):
        string = None if answer is None else place(of, answer).string
        values.append(float(reward[number].min() if string is None else reward[number, string]))
    return sum(values) / len(values)
