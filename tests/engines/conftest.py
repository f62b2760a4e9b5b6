"""Tiny models of three families. Their weights are made larger than usual, so that distributions are far from flat."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from espalier.models import Model, from_config, train_tokenizer

CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2": {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64},
    "llama": {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1, "intermediate_size": 64},
    "gpt2": {"n_embd": 32, "n_head": 4},
}
LENGTH = {"qwen2": "max_position_embeddings", "llama": "max_position_embeddings", "gpt2": "n_positions"}


def tiny(family: str, tokenizer: Any, context: int = 96, seed: int = 0, sharpen: float = 3.0) -> Model:
    model = from_config(
        {"model_type": family, "num_hidden_layers": 2, LENGTH[family]: context, **CONFIGS[family]}, tokenizer, seed=seed
    )
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(sharpen)
    return model


@pytest.fixture(scope="session")
def characters() -> Any:
    return train_tokenizer(["12 + 34 = 46\n"], kind="char", extra_chars="05789*-")


@pytest.fixture(scope="session")
def pieces() -> Any:
    return train_tokenizer(["the cat sat on the mat. " * 20, "the dog ran.\n\n" * 20, "é à 好的"], vocab_size=300)


@pytest.fixture(params=list(CONFIGS))
def model(request: pytest.FixtureRequest, characters: Any) -> Model:
    return tiny(request.param, characters)


@pytest.fixture
def qwen(characters: Any) -> Model:
    return tiny("qwen2", characters)
