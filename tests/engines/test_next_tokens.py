"""The probabilities of next tokens, which guided decoding needs, are those that sampling draws from."""

from __future__ import annotations

import pytest
import torch

from espalier.engines import LocalEngine, Sampling
from espalier.engines.base import TokenEngine
from espalier.exact import Language, Neural, tokenizer
from espalier.exact.engine import ExactEngine
from espalier.models import Model, from_config
from espalier.trees import Node
from tests.tiny import config

LANGUAGE = Language("abc", length=3)
CONFIG = config("llama", max_position_embeddings=8, initializer_range=0.5)


@pytest.fixture(scope="module")
def model() -> Model:
    return from_config(CONFIG, tokenizer(LANGUAGE), seed=1)


def prefixes() -> list[Node]:
    """The prompt, "a" after it, and both again."""
    root = Node("ab", "prompt")
    step = root.add(Node("a", token_ids=[0], stop="length"))
    return [step, root, step, root]


def test_the_local_engine_tells_what_the_exact_one_does(model: Model) -> None:
    local, exact = LocalEngine(model), ExactEngine(Neural(LANGUAGE, model.hf))
    assert isinstance(local, TokenEngine)
    for mine, theirs in zip(local.next_tokens(prefixes(), 9), exact.next_tokens(prefixes(), 9), strict=True):
        assert [node.token_ids for node in mine] == [node.token_ids for node in theirs]
        assert [node.text for node in mine] == [node.text for node in theirs]
        assert [node.stop for node in mine] == [node.stop for node in theirs]
        logprobs = [torch.tensor([node.logprobs for node in found]) for found in (mine, theirs)]
        torch.testing.assert_close(*logprobs, atol=1e-5, rtol=0.0, check_dtype=False)
        assert logprobs[0].exp().sum() == pytest.approx(1, abs=1e-5)
        assert logprobs[0][0] == logprobs[0].max()


def test_held_prefixes_are_not_computed_again(model: Model) -> None:
    engine, nodes = LocalEngine(model, batch_size=2), prefixes()
    engine.next_tokens(nodes, 2)
    assert (engine.spent.prefilled, engine.spent.generated) == (3, 4)
    engine.next_tokens(nodes, 2)
    engine.extend(nodes, 2, Sampling(max_tokens=1))
    assert engine.spent.prefilled == 3
