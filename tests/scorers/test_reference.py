"""A model's log-probs, written once beside the tokens they belong to, under a name that is this model's alone."""

from __future__ import annotations

import pytest
import torch

from espalier.errors import ModelError
from espalier.models import Model, from_config, load, train_tokenizer
from espalier.scorers import ReferenceLogProbs, Scorer, stream_name
from espalier.trees import Forest, Node, Tree, read_stream
from tests.tiny import config

CONFIG = config("qwen2", layers=2, kv_heads=1, max_position_embeddings=32, tie_word_embeddings=True)


def make(seed: int = 0, **settings) -> Model:
    return from_config({**CONFIG, **settings}, train_tokenizer(["0123456789+="], kind="char"), seed=seed)


def problem(prompt: str = "1+2=") -> Tree:
    root = Node(prompt, "prompt")
    step = root.add(Node("1+"))
    step.add(Node("2=3", stop="eos"))
    step.add(Node("9", "tool")).add(Node("4"))
    root.add(Node("", stop="length"))
    return Tree(root)


@torch.no_grad()
def plain(model: Model, node: Node, temperature: float) -> list[float]:
    """The node's log-probs from an ordinary pass over its path."""
    ids = [token for segment in node.path() for token in segment.token_ids]
    logits = model.hf(torch.tensor([ids])).logits[0, :-1] / temperature
    found = logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    return found[len(found) - len(node.token_ids) :].tolist()


@pytest.mark.parametrize(("tokens", "temperature"), [(1, 1.0), (4096, 1.0), (4096, 0.5)])
def test_every_response_token_has_the_log_prob_of_a_plain_pass(tokens, temperature):
    model = make()
    judge = ReferenceLogProbs(model, tokens=tokens, temperature=temperature)
    assert isinstance(judge, Scorer)
    forest = judge.score(Forest([problem(), problem("7+7=")]))
    for node in forest.nodes():
        found = read_stream(node, judge.name)
        if node.author == "policy" and node.token_ids:
            assert found.tolist() == pytest.approx(plain(model, node, temperature), abs=1e-5)
        else:
            assert found is None


def test_a_tree_that_grew_is_run_only_where_it_grew():
    judge = ReferenceLogProbs(make())
    forest = Forest([problem(), problem("7+7=")])
    judge.score(forest)
    before = judge.spent.scored
    judge.score(forest)
    assert judge.spent.scored == before
    forest[1].root.children[0].add(Node("5"))
    judge.score(forest)
    assert judge.spent.scored == before + 4 + 2 + 1  # prompt, step and what is new; not the other branches


def test_the_name_is_that_of_weights_config_tokenizer_precision_and_temperature(tmp_path):
    model = make()
    name = stream_name(model, "fp32")
    model.save(tmp_path / "model")
    with_head = make()
    with_head.add_head("value", link="real")
    assert {stream_name(same, "fp32") for same in (make(), load(tmp_path / "model"), model.copy(), with_head)} == {name}
    stranger = from_config(CONFIG, train_tokenizer(["0123456789=+-"], kind="char"))
    others = [
        make(seed=1),
        make(rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
        make(tie_word_embeddings=False),
        stranger,
    ]
    names = [stream_name(other, "fp32") for other in others]
    names += [stream_name(model, "bf16"), stream_name(model, "fp32", 0.7)]
    assert len({name, *names}) == 1 + len(names)


def test_an_adapter_switched_off_has_the_name_of_the_model_before_it():
    model = make()
    name = stream_name(model, "fp32")
    model.add_lora(rank=2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    assert stream_name(model, "fp32", adapter=False) == name
    assert stream_name(model, "fp32") != name
    off, on = ReferenceLogProbs(model, adapter=False), ReferenceLogProbs(model)
    forest = on.score(off.score(Forest([problem()])))
    leaf = forest[0].leaves()[0]
    assert read_stream(leaf, off.name).tolist() == pytest.approx(plain(make(), leaf, 1.0), abs=1e-5)
    assert read_stream(leaf, on.name).tolist() != pytest.approx(plain(make(), leaf, 1.0), abs=1e-3)


def test_a_model_that_was_trained_on_does_not_write_under_its_old_name():
    model = make()
    judge = ReferenceLogProbs(model)
    with torch.no_grad():
        next(iter(model.hf.parameters())).mul_(1.1)
    with pytest.raises(ModelError, match="the model has changed"):
        judge.score(Forest([problem()]))


def test_a_model_that_a_fused_optimiser_has_trained_since_is_refused():
    model = make()
    judge = ReferenceLogProbs(model)
    optimiser = torch.optim.AdamW(model.hf.parameters(), lr=0.1, fused=True)
    model.hf(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    optimiser.step()
    with pytest.raises(ModelError, match="the model has changed"):
        judge.score(Forest([problem()]))


def test_tokens_of_another_tokenizer_are_refused():
    forest = ReferenceLogProbs(make()).score(Forest([problem()]))
    other = from_config(CONFIG, train_tokenizer(["0123456789=+-"], kind="char"))
    with pytest.raises(ModelError, match="token ids of tokenizer"):
        ReferenceLogProbs(other).score(forest)
