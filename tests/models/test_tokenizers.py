"""Tokenizers trained here are lossless where they say so, and the fingerprint tells tokenizers apart."""

from transformers import AutoTokenizer

from espalier.models import fingerprint, train_tokenizer

TEXTS = ["Natalia sold 48 clips.\n", "a+b = c"]


def test_bytes_survive_any_text():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    for text in ("  two  spaces\n\n", "日本語 ünïcödé \x00 🎄", "e\u0301", "", " 's 48 don't"):
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_characters_are_one_token_each_and_come_back():
    tokenizer = train_tokenizer(TEXTS, kind="char", extra_chars="\t9")
    text = "Nat = 48\n\t9  a."
    ids = tokenizer(text).input_ids
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


def test_the_end_of_a_text_and_its_padding_are_distinct_tokens_within_the_size_asked_for():
    for kind in ("bpe", "char"):
        tokenizer = train_tokenizer(TEXTS * 20, kind=kind, vocab_size=280)
        assert len({tokenizer.eos_token_id, tokenizer.pad_token_id}) == 2
        assert tokenizer.bos_token_id is None
        assert len(tokenizer) <= 280


def test_the_fingerprint_survives_saving_and_padding_but_not_another_vocabulary(tmp_path):
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    mine = fingerprint(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    again(["a", "a b c"], padding=True)
    assert fingerprint(again) == mine
    assert fingerprint(train_tokenizer([*TEXTS, "the cat the cat"], vocab_size=300)) != mine
    again.add_tokens(["<extra>"])
    assert fingerprint(again) != mine
