"""Policies over an exact language: a table with a row for each prefix, or a neural language model run on all."""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from espalier.exact.language import Language


class Policy(nn.Module):
    """A next-token distribution after every prompt and prefix; a subclass says which, with gradients."""

    def __init__(self, language: Language) -> None:
        super().__init__()
        self.language = language

    @abstractmethod
    def next_logprobs(self) -> Float[Tensor, "prompts prefixes tokens"]:
        """The log-prob of each token after each prefix, in nats."""

    def token_logprobs(self) -> Float[Tensor, "prompts strings length"]:
        """The log-prob of each token of each string, 0 where a string has ended."""
        return self.language.token_logprobs(self.next_logprobs())

    def forward(self) -> Float[Tensor, "prompts strings"]:
        """The log-prob of each string. Detached (`policy().detach()`), it is a reference policy."""
        return self.language.string_logprobs(self.next_logprobs())


class Tabular(Policy):
    """A softmax for each prefix, in fp64: every law over the strings is one of these.

    Attributes:
        logits: what is trained, [prompts, prefixes, tokens].
    """

    def __init__(self, language: Language, logits: Float[Tensor, "prompts prefixes tokens"] | None = None) -> None:
        """Uniform next tokens where no logits are given."""
        super().__init__(language)
        shape = (len(language.prompts), language.prefixes, language.tokens)
        start = torch.zeros(shape) if logits is None else logits.detach().clone().expand(shape)
        self.logits = nn.Parameter(start.double().contiguous())

    @classmethod
    def random(cls, language: Language, seed: int, scale: float = 1.0) -> Tabular:
        """Normal logits of this standard deviation."""
        shape = (len(language.prompts), language.prefixes, language.tokens)
        draw = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return cls(language, scale * draw)

    @classmethod
    def of(cls, language: Language, law: Float[Tensor, "prompts strings"]) -> Tabular:
        """The policy whose strings have these log-probs; each must be possible."""
        return cls(language, language.next_logprobs(law.detach()))

    def next_logprobs(self) -> Float[Tensor, "prompts prefixes tokens"]:
        return self.logits.log_softmax(-1)


class Neural(Policy):
    """A causal language model of transformers (`espalier.Model.hf`), run on every prompt and prefix.

    Its first tokens must be the language's: `espalier.exact.tokenizer` makes such a tokenizer. What its vocabulary has
    beyond them gets no probability here.
    """

    def __init__(self, language: Language, hf: nn.Module) -> None:
        super().__init__(language)
        self.hf = hf

    def next_logprobs(self) -> Float[Tensor, "prompts prefixes tokens"]:
        language = self.language
        # The longest prefixes pass through all others, so that one forward pass a prompt sees every prefix.
        longest = language.texts[language.starts[language.length - 1] : language.prefixes]
        places = [(0 if not text else _row(text, language), len(text)) for text in language.texts[: language.prefixes]]
        rows, columns = torch.tensor(places).unbind(-1)
        found = []
        for prompt in language.prompts:
            ids = torch.tensor([[language.symbols.index(symbol) for symbol in prompt + text] for text in longest])
            logits = self.hf(input_ids=ids, use_cache=False).logits[:, len(prompt) - 1 :, : language.tokens]
            found.append(logits[rows, columns].double().log_softmax(-1))
        return torch.stack(found)


def _row(text: str, language: Language) -> int:
    """The first of the longest prefixes, in order, that begins with this text."""
    number = 0
    for symbol in text.ljust(language.length - 1, language.symbols[0]):
        number = number * len(language.symbols) + language.symbols.index(symbol)
    return number
