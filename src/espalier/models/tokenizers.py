"""Tokenizers for models made here, and the fingerprint that keeps the token ids of two tokenizers apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Literal
from weakref import WeakKeyDictionary

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.auto.tokenization_auto import get_tokenizer_config

EOS = "<|endoftext|>"
PAD = "<|pad|>"
UNKNOWN = "<|unknown|>"


def train_tokenizer(
    texts: Iterable[str], kind: Literal["bpe", "char"] = "bpe", vocab_size: int = 4096, extra_chars: str = ""
) -> PreTrainedTokenizerFast:
    """A tokenizer that splits `texts` well, with the end-of-text token `<|endoftext|>` and a distinct `<|pad|>`.

    "bpe" is byte-level byte-pair encoding (Sennrich et al., arXiv:1508.07909, over bytes): any text survives encoding
    and decoding. "char" has one token a character; a character that was never seen becomes `<|unknown|>`, which
    `encode` refuses, so name the characters that may still come in `extra_chars`. No start token is added.

    Args:
        vocab_size: upper bound on the number of tokens, special ones included; "char" takes what it needs.

    >>> tokenizer = train_tokenizer(["12+34=46"], kind="char", extra_chars="789")
    >>> tokenizer.decode(tokenizer("78+9").input_ids)
    '78+9'
    """
    special = [EOS, PAD]
    if kind == "char":
        characters = sorted({character for text in texts for character in text} | set(extra_chars))
        special = [*special, UNKNOWN]
        vocab = {token: i for i, token in enumerate([*special, *characters])}
        backend = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()
        backend.add_special_tokens(special)
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        backend.train_from_iterator(
            texts,
            trainers.BpeTrainer(
                vocab_size=vocab_size,
                special_tokens=special,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                show_progress=False,
            ),
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN if kind == "char" else None,
        clean_up_tokenization_spaces=False,
    )


def read_tokenizer(where: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id, as its files describe it.

    For some model types (qwen2 among them) `AutoTokenizer` puts the family's own rules in the place of those in the
    files, which is wrong for a tokenizer that was trained here; so a declared plain tokenizer is read plainly.
    """
    declared = get_tokenizer_config(where).get("tokenizer_class")
    plain = declared in ("TokenizersBackend", "PreTrainedTokenizerFast")
    return (PreTrainedTokenizerFast if plain else AutoTokenizer).from_pretrained(where, trust_remote_code=False)


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixteen hexadecimal digits that two tokenizers share only if they give the same token ids for every text."""
    known = _known.get(tokenizer)
    state = (len(tokenizer), tokenizer.eos_token_id)
    if known is None or known[0] != state:
        _known[tokenizer] = known = (state, _digest(tokenizer))
    return known[1]


# A digest of a large vocabulary takes a second, and every call of `encode` asks for it.
_known: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[tuple[int, int | None], str]] = WeakKeyDictionary()


def _digest(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules: dict = json.loads(backend.to_str()) if backend is not None else {}
    # Padding and truncation change with each call; the vocabulary is hashed below, sorted.
    parts = {name: rules.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor")}
    parts["merges"] = rules.get("model", {}).get("merges")
    parts["vocab"] = sorted(tokenizer.get_vocab().items())
    parts["eos"] = tokenizer.eos_token_id
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]
