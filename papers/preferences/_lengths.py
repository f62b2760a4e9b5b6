"""A language model, and raters who like good words and long answers.

The chance to stop depends on a few shared numbers, so what pairs of short responses teach goes on to longer ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from espalier.exact import Language, Pairs, Policy, anneal, bradley_terry

LANGUAGE = Language("ab", length=8)
TOKENS = torch.tensor([float(len(text)) for text in LANGUAGE.strings], dtype=torch.float64).clamp(min=1)
"""Symbols of each response; 1 for the empty one."""
QUALITY = torch.tensor([2.0 * (text.count("a") - text.count("b")) for text in LANGUAGE.strings]) / TOKENS
QUALITY[0] = -2.0
"""2 for good words alone, -2 for bad ones alone, whatever the length; an empty response is bad."""


class Writer(Policy):
    """Logits of the next token (good word, bad word, end) that are linear in the last word and the place.

    Attributes:
        weights: of each token for each feature; what is trained.
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__(LANGUAGE)
        texts = LANGUAGE.texts[: LANGUAGE.prefixes]
        seen = [[1.0, len(text) / LANGUAGE.length, text.endswith("a"), text.endswith("b")] for text in texts]
        self.seen, self.weights = torch.tensor(seen, dtype=torch.float64), nn.Parameter(weights.clone())

    def next_logprobs(self) -> Tensor:
        return (self.seen @ self.weights).log_softmax(-1)[None]


class Problem(NamedTuple):
    """Attributes:
    weights: of the reference writer.
    reference: its log-probs of all strings.
    chosen: the preferred string of each pair.
    rejected: the other.
    """

    weights: Tensor
    reference: Tensor
    chosen: Tensor
    rejected: Tensor

    def train(self, loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], steps: int, lr: float = 0.1) -> Tensor:
        """The law after training; the loss takes the log-ratios, then the lengths, of the chosen and the rejected."""
        writer, tokens = Writer(self.weights), (TOKENS[self.chosen], TOKENS[self.rejected])

        def mean() -> Tensor:
            ratio = (writer() - self.reference)[0]
            return loss(ratio[self.chosen], ratio[self.rejected], *tokens).mean()

        anneal(writer, mean, steps, lr)
        return writer().detach()


def problem(seed: int, bias: float, pairs: int = 60) -> Problem:
    """A random writer whose words get worse as it goes on, and labelled pairs of its responses.

    Args:
        bias: what a word more is worth to the raters, in quality.
    """
    chance = torch.Generator().manual_seed(seed)
    weights = torch.randn(4, 3, generator=chance, dtype=torch.float64) / 4
    weights[:2] += torch.tensor([[0.5, 0.0, -0.5], [-2.0, 0.0, 1.0]])
    reference = Writer(weights)().detach()
    every = Pairs.all(reference, bradley_terry((QUALITY + bias * TOKENS)[None]))
    which = torch.multinomial(every.weight[0], pairs, replacement=True, generator=chance)
    return Problem(weights, reference, every.chosen[which], every.rejected[which])
