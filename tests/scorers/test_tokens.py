"""What a model says at every token stands at the right tokens, and each token is found again in the text."""

from __future__ import annotations

import math

import pytest
import torch

from espalier.models import Model, from_config, pack, train_tokenizer
from espalier.scorers import TokenView
from espalier.trees import Forest, Node, Tree, read_stream
from espalier.trees.streams import pieces
from tests.tiny import config

CONFIG = config("qwen2", max_position_embeddings=64)


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["two and two are four é ⅗", "and four and two"], kind="bpe", vocab_size=300)
    model = from_config(CONFIG, tokenizer)
    model.add_head("value", link="probability")
    torch.nn.init.normal_(model.heads["value"].weight)
    return model


def tree() -> Tree:
    root = Node("two and two", "prompt")
    step = root.add(Node(" are four\n", stop="stop"))
    step.add(Node("é ☃ and", stop="eos"))
    step.add(Node(" two"))
    return Tree(root)


def test_the_pieces_of_a_text_are_its_tokens(model: Model) -> None:
    [done] = TokenView(model).score(Forest([tree()]))
    for node in list(done.walk())[1:]:
        found = pieces(node)
        assert found is not None
        assert "".join(found) == node.text
        assert len(found) == len(node.token_ids or ())
    ends = done.leaves()[0]
    assert pieces(ends)[-1] == ""  # the end-of-text token writes nothing
    assert pieces(ends).count("☃") == 1  # three tokens: the one that completes it has it whole


def test_values_and_log_probs_are_the_models_and_advantages_their_differences(model: Model) -> None:
    [done] = TokenView(model).score(Forest([tree()]))
    packed = pack([done], targets=lambda node: node.parent is not None)
    with torch.no_grad():
        outputs = model(packed, heads=("value",))
    values = outputs.heads["value"].sigmoid()
    leaf = done.leaves()[1]
    at = packed.nodes.index(leaf)
    start, end = int(packed.start[at]), int(packed.end[at])
    assert torch.allclose(torch.tensor(read_stream(leaf, "value")), values[start:end], atol=1e-6)
    before = float(values[int(packed.end[packed.nodes.index(leaf.parent)]) - 1])
    total = float(values[end - 1]) - before
    assert math.isclose(float(read_stream(leaf, "advantage").sum()), total, abs_tol=1e-6)
    mine = outputs.logprobs[packed.target_segment == at]
    assert torch.allclose(torch.tensor(read_stream(leaf, "logprob")), mine, atol=1e-5)


def test_a_saved_value_model_has_values_and_no_log_probs(model: Model, tmp_path) -> None:
    from espalier.models import load

    model.save(tmp_path / "value", kind="value")
    [done] = TokenView(load(tmp_path / "value")).score(Forest([tree()]))
    assert {"value", "advantage", "ends"} == set(done.leaves()[0].streams)
