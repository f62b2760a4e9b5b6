"""Text to token ids, segment by segment, so that a sampled segment keeps the tokens it was sampled as."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerBase

from espalier.errors import ModelError
from espalier.models.tokenizers import fingerprint
from espalier.trees import Node, Tree


def encode_node(node: Node, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids of this segment alone.

    A root gets the special tokens that the tokenizer itself puts at a start, unless its text already has them (a
    rendered chat template, say). Other segments get none, but for the end-of-text token where `node.stop == "eos"`.

    Raises:
        ModelError: a character that the tokenizer does not know, or no end-of-text token where one is needed.
    """
    if node.token_ids is not None:
        return node.token_ids
    if node.parent is None:
        begins = not (tokenizer.bos_token and node.text.startswith(tokenizer.bos_token))
        ids = list(tokenizer(node.text, add_special_tokens=begins, verbose=False).input_ids)
    else:
        ids = _continuation(node.text, tokenizer)
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        unknown = [c for c in node.text if tokenizer.unk_token_id in tokenizer(c, add_special_tokens=False).input_ids]
        raise ModelError(
            f"the tokenizer does not know {''.join(dict.fromkeys(unknown))!r} in {node.text[:60]!r}; "
            "train it with those characters (extra_chars) or use kind='bpe'"
        )
    if node.stop == "eos":
        if tokenizer.eos_token_id is None:
            raise ModelError("a complete response needs an end-of-text token; set tokenizer.eos_token")
        ids.append(tokenizer.eos_token_id)
    return ids


def _continuation(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of a text that goes on from another: some tokenizers put a space before what they take for a start."""

    def split(piece: str) -> list[int]:
        return list(tokenizer(piece, add_special_tokens=False, verbose=False).input_ids)

    if not text or tokenizer.convert_ids_to_tokens(split("a")[:1]) in (["a"], [tokenizer.unk_token]):
        return split(text)
    before, both = split("\n"), split("\n" + text)
    if both[: len(before)] != before:
        raise ModelError(
            f"the tokenizer cannot encode {text[:60]!r} as a continuation; it joins it with what stands before"
        )
    return both[len(before) :]


def token_path(node: Node, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids from the root to the end of `node`; the tree is not changed."""
    return [token for segment in node.path() for token in encode_node(segment, tokenizer)]


def encode(trees: Iterable[Tree], tokenizer: PreTrainedTokenizerBase, mark: str | None = None) -> None:
    """Fill in `token_ids` wherever they are missing, and write the tokenizer's fingerprint on each root.

    Args:
        mark: the tokenizer's fingerprint, where it is known (`model.fingerprint`): hashing a vocabulary takes time.

    Raises:
        ModelError: a tree holds token ids of another tokenizer.
    """
    mine = mark or fingerprint(tokenizer)
    for tree in trees:
        theirs = tree.root.meta.get("tokenizer", mine)
        if theirs != mine and any(node.token_ids is not None for node in tree.walk()):
            raise ModelError(
                f"tree {tree.id!r} has token ids of tokenizer {theirs}, but this model's tokenizer is {mine}; "
                "use the model that made them, or clear the nodes' token_ids and logprobs"
            )
        for node in tree.walk():
            node.token_ids = encode_node(node, tokenizer)
        tree.root.meta["tokenizer"] = mine
