"""Tiny models of three families. Their weights are made larger than usual, so that distributions are far from flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from espalier.models import Model, from_config, train_tokenizer
from espalier.trees import Node

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


@dataclass
class Passes:
    """What went through a model's trunk on the engine's behalf."""

    tokens: int = 0

    def __call__(self, module: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        if "attend" in kwargs:
            self.tokens += kwargs["input_ids"].numel()


def watch(model: Model) -> Passes:
    """Count the tokens that the engine runs from now on."""
    passes = Passes()
    model.hf.base_model.register_forward_pre_hook(passes, with_kwargs=True)
    return passes


def prompts(*texts: str) -> list[Node]:
    return [Node(text, "prompt") for text in texts]


def ids(out: list[list[Node]]) -> list[list[list[int]]]:
    return [[node.token_ids or [] for node in nodes] for nodes in out]
