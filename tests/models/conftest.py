"""Tiny models of several families, and trees with every shape that packing must survive."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from espalier.models import Model, encode, from_config, train_tokenizer
from espalier.trees import Node, Tree

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}
CONFIGS = {
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True, **SMALL},
    "llama": {"model_type": "llama", **SMALL},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96},
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4},
}
TEXTS = ["Natalia sold 48 clips in April, and half as many in May.", "0123456789+-*/= the quick brown fox"]


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=300)


@pytest.fixture(scope="session")
def build(tokenizer) -> Callable[..., Model]:
    """build("llama", head="value", **settings): that family, with weights large enough to tell states apart."""

    def make(family: str, head: str | None = None, **settings) -> Model:
        model = from_config({**CONFIGS.get(family, {"model_type": family, **SMALL}), **settings}, tokenizer, head=head)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.2, generator=generator)
        return model

    return make


@pytest.fixture
def trees(tokenizer) -> list[Tree]:
    """Depth 4, empty segments inside and at the end, single tokens, a tool's words, an only child, a bare prompt."""
    root = Node("the quick", "prompt")
    brown = root.add(Node(" brown fox 12"))
    brown.add(Node("3", stop="eos"))
    gap = brown.add(Node(""))
    deep = gap.add(Node("4+5"))
    deep.add(Node("=9", stop="eos"))
    deep.add(Node("=8"))
    gap.add(Node(""))
    root.add(Node(""))
    root.add(Node("7"))
    root.add(Node(" look", "policy")).add(Node(" found it", "tool")).add(Node(" so 48", stop="eos"))
    chain = Node("0", "prompt")
    chain.add(Node("1")).add(Node("2")).add(Node("3"))
    forest = [Tree(root, "branching"), Tree(chain, "chain"), Tree(Node("bare", "prompt"), "bare")]
    encode(forest, tokenizer)
    return forest
