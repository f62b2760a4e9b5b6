"""What every engine checks of a prefix before it goes on from it."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from espalier.errors import ContextLengthError, EngineError, ModelError
from espalier.models import encode_node
from espalier.trees import Node


def prefix_tokens(
    prefixes: Sequence[Node], tokenizer: PreTrainedTokenizerBase, fingerprint: str, context_length: int
) -> list[list[int]]:
    """For each prefix the token ids from the root to its end, with room for another one.

    Raises:
        ContextLengthError: there is no room.
        EngineError: a prefix has no token.
        ModelError: a tree holds token ids of another tokenizer than the one with this fingerprint.
        ValueError: a prefix has ended already.
    """
    encoded: dict[Node, list[int]] = {}  # many prefixes go on from few prompts
    found = []
    for prefix in prefixes:
        path = prefix.path()
        if any(node.stop == "eos" for node in path):
            raise ValueError(
                f"the response to {_beginning(prefix)} has ended (a node on its path has stop='eos'); "
                "extend its parent for an alternative, or set stop to None to go on after a turn"
            )
        theirs = path[0].meta.get("tokenizer", fingerprint)
        if theirs != fingerprint and any(node.token_ids is not None for node in path):
            raise ModelError(
                f"the tree of {_beginning(prefix)} has token ids of tokenizer {theirs}, but this model's tokenizer is "
                f"{fingerprint}; use the model that made them, or clear the nodes' token_ids and logprobs"
            )
        for node in path:
            if node not in encoded:
                encoded[node] = encode_node(node, tokenizer)
        ids = [token for node in path for token in encoded[node]]
        if not ids:
            raise EngineError("a prefix has no token, so nothing predicts the next one; give it a text")
        if len(ids) >= context_length:
            raise ContextLengthError(
                f"the prompt that begins {_beginning(prefix)} has {len(ids)} tokens, and the model's context is "
                f"{context_length}: no room for another token; shorten the prompt"
            )
        found.append(ids)
    return found


def _beginning(prefix: Node) -> str:
    text = prefix.full_text()
    return repr(text if len(text) <= 60 else text[:57] + "...")
