"""Stop strings on streams of tokens: a stop string may begin in one token and end in another.

Decoding every row at every step would cost more than the model. Instead each token is asked once whether it *could*
complete a stop string (it holds the last character of one); only rows that drew such a token decode a short tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from espalier.errors import ConfigError

_PART_OF_CHARACTER = "�"


class Decoder:
    """Token ids to text, for continuations."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._completers: dict[frozenset[str], NDArray[np.bool_]] = {}
        self._alone: dict[int, str] = {}  # the text of a token that stands before others

    def texts(self, before: Sequence[int], continuations: Sequence[list[int]]) -> list[str]:
        """What each continuation adds to a text whose last token is `before[i]`.

        Some tokenizers drop the space that begins a text, so a continuation is decoded with the token before it.
        """
        new = [token for token in dict.fromkeys(before) if token not in self._alone]
        self._alone |= zip(new, self._decode([[token] for token in new]), strict=True)
        alone = [self._alone[token] for token in before]
        whole = self._decode([[token, *ids] for token, ids in zip(before, continuations, strict=True)])
        texts = [text[len(head) :] for head, text in zip(alone, whole, strict=True)]
        # A character split between the prefix and the continuation: only the continuation's own bytes are its text.
        split = [i for i, (head, text) in enumerate(zip(alone, whole, strict=True)) if not text.startswith(head)]
        for i, text in zip(split, self._decode([continuations[i] for i in split]), strict=True):
            texts[i] = text
        return texts

    def completers(self, stops: Sequence[str]) -> NDArray[np.bool_]:
        """For each token id, whether it could be the one that completes a stop string."""
        ends = frozenset(stop[-1] for stop in stops)
        if ends not in self._completers:
            wanted = ends if all(end.isascii() for end in ends) else ends | {_PART_OF_CHARACTER}
            found = (not wanted.isdisjoint(text) for text in self._vocabulary)
            self._completers[ends] = np.fromiter(found, dtype=bool)
        return self._completers[ends]

    @cached_property
    def _vocabulary(self) -> list[str]:
        # Twice each, because a tokenizer that drops a beginning space keeps it the second time.
        return self._decode([[token, token] for token in range(len(self.tokenizer))])

    def _decode(self, ids: list[list[int]]) -> list[str]:
        # transformers decodes an empty batch to one empty text.
        return self.tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False) if ids else []


class StopStrings:
    """The stop strings of one call.

    Attributes:
        tail: how many of the last tokens always hold a stop string that was just completed; a token is at least a byte.
    """

    def __init__(self, decoder: Decoder, stops: Sequence[str]) -> None:
        if "" in stops:
            raise ConfigError("an empty stop string would end every continuation at its first token; leave it out")
        self.decoder, self.stops = decoder, tuple(stops)
        self._completers = decoder.completers(stops)
        self.tail = max(len(stop.encode()) for stop in stops)

    def may_complete(self, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
        """For each token, whether it could complete a stop string."""
        # A model may have more tokens than its tokenizer; those have no text.
        return self._completers[np.minimum(tokens, len(self._completers) - 1)] & (tokens < len(self._completers))

    def met(self, before: Sequence[int], tails: Sequence[list[int]]) -> list[bool]:
        """Whether each tail (at most `self.tail` tokens, after the token `before[i]`) holds a stop string."""
        return [any(stop in text for stop in self.stops) for text in self.decoder.texts(before, tails)]
