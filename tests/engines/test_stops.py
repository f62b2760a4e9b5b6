"""Text of continuations and stop strings, on tokens that are parts of characters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from espalier.engines.stops import Decoder, StopStrings


@pytest.mark.parametrize(
    ("text", "stop"),
    [("the cat\n\nran", "\n\n"), ("é à 好的 the", "好的"), ("a 好", "好"), ("dog", "og"), ("éa", "é"), ("ü ü", "ü ü")],
)
def test_only_a_token_that_could_complete_a_stop_string_does(pieces: Any, text: str, stop: str) -> None:
    stops = StopStrings(Decoder(pieces), (stop, "~", "never this"))
    ids = pieces(text).input_ids
    begin = pieces("x").input_ids[0]
    met_at = []
    for end in range(1, len(ids) + 1):
        tail = ids[max(0, end - stops.tail) : end]
        before = ids[end - stops.tail - 1] if end > stops.tail else begin
        if stops.may_complete(np.asarray(ids[end - 1 : end]))[0] and stops.met([before], [tail])[0]:
            met_at.append(end)
    first = next(end for end in range(1, len(ids) + 1) if stop in pieces.decode(ids[:end]))
    assert met_at[0] == first


def test_a_stop_string_in_the_prefix_is_not_one_in_the_continuation(pieces: Any) -> None:
    stops = StopStrings(Decoder(pieces), ("ab",))
    (a, b) = (pieces(letter).input_ids[0] for letter in "ab")
    assert stops.met([b, a], [[a], [b]]) == [False, False]
    assert stops.met([b], [[a, b]]) == [True]


def test_tokens_beyond_the_tokenizer_complete_nothing(pieces: Any) -> None:
    stops = StopStrings(Decoder(pieces), ("a",))
    assert not stops.may_complete(np.asarray([len(pieces), len(pieces) + 100])).any()


def test_a_continuation_that_finishes_a_split_character_is_decoded_alone(pieces: Any) -> None:
    ids = pieces("ü").input_ids
    assert len(ids) > 1, "the character should be several tokens"
    decoder = Decoder(pieces)
    assert decoder.texts([ids[0], pieces("x").input_ids[0]], [ids[1:], ids]) == [pieces.decode(ids[1:]), "ü"]
    assert decoder.texts([], []) == []


def test_a_space_that_a_tokenizer_drops_at_a_beginning_stays_in_a_continuation() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"▁the": 0, "▁cat": 1, "s": 2}, unk_token="s"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    decoder = Decoder(tokenizer)
    assert tokenizer.decode([1]) == "cat"
    assert decoder.texts([0, 0], [[1, 2], [2]]) == [" cats", "s"]
    assert decoder.completers([" "]).tolist() == [True, True, False]
