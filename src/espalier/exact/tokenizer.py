"""The language's tokenizer, so that transformers models and the whole library run on it."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from espalier.exact.language import Language

EOS, PAD = "<|endoftext|>", "<|pad|>"


def tokenizer(language: Language, pad: bool = False) -> PreTrainedTokenizerFast:
    """Token i is symbol i, the next one is the end token: a model made with it has no token beyond the language's.

        model = espalier.from_config({"model_type": "qwen2", ...}, exact.tokenizer(language))
        policy = exact.Neural(language, model.hf)

    Args:
        pad: one more token for padding. Reward heads need it; to `Neural` it has no probability, to a sampler it has.
    """
    special = [EOS, PAD] if pad else [EOS]
    vocabulary = {token: number for number, token in enumerate([*language.symbols, *special])}
    backend = Tokenizer(models.WordLevel(vocabulary))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=EOS,
        pad_token=PAD if pad else None,
        clean_up_tokenization_spaces=False,
    )
