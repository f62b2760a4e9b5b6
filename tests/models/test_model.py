"""Heads, adapters, copies and the context limit."""

import pytest
import torch

from espalier.errors import ContextLengthError, ModelError
from espalier.models import encode, from_config, pack
from espalier.trees import Node, Tree


def test_a_fresh_head_says_nothing_yet_and_learns(build, trees):
    model, packed = build("gpt2"), pack(trees)
    model.add_head("value", link="probability")
    values = model(packed, logprobs=False, heads=("value",)).heads["value"]
    assert values.shape == packed.token_ids.shape
    assert values.eq(0).all()
    torch.nn.functional.binary_cross_entropy_with_logits(values, torch.ones_like(values)).backward()
    assert model.heads["value"].weight.grad.abs().sum() > 0
    assert model.link("value") == "probability"
    with pytest.raises(ModelError, match="already has a value head"):
        model.add_head("value", link="real")
    with pytest.raises(ModelError, match=r"no reward head \(it has: value\)"):
        model(packed, heads=("reward",))


def test_a_reward_head_needs_padding_that_is_not_the_end_of_a_text(build, tokenizer):
    from copy import deepcopy

    other = deepcopy(tokenizer)
    other.pad_token = other.eos_token
    model = from_config({"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}, other)
    with pytest.raises(ModelError, match="pad token is its end-of-text token"):
        model.add_head("reward", link="real")


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_the_reference_is_the_model_before_its_adapter(build, trees, family):
    model, packed = build(family, head="value"), pack(trees)
    before = model(packed).logprobs.detach()
    with pytest.raises(ModelError, match=r"no adapter to switch off; use model\.copy"), model.reference():
        pass
    model.add_lora(rank=2)
    assert torch.equal(model(packed).logprobs, before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name or name.startswith("heads.") for name in trained)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model(packed).logprobs.sum().neg().backward()
    optimizer.step()
    model.zero_grad()
    model(packed).logprobs.sum().neg().backward()
    optimizer.step()
    assert (model(packed).logprobs - before).abs().max() > 1e-3
    with model.reference():
        torch.testing.assert_close(model(packed).logprobs, before)
    assert (model(packed).logprobs - before).abs().max() > 1e-3
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    with pytest.raises(ModelError, match="already has an adapter"):
        model.add_lora()


def test_a_copy_is_frozen_and_does_not_follow(build, trees):
    model, packed = build("llama", head="value").train(), pack(trees)
    copy = model.copy()
    before = copy(packed).logprobs
    assert not before.requires_grad
    assert not copy.training
    assert model.training
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(copy(packed).logprobs, before)
    assert all(p.requires_grad for p in model.parameters())


def test_a_path_longer_than_the_context_names_the_tree_and_the_numbers(build, tokenizer):
    model = build("gpt2")
    root = Node("Natalia sold", "prompt")
    root.add(Node("48 " * 100))
    trees = [Tree(Node("fine", "prompt"), "ok"), Tree(root, "gsm-17")]
    encode(trees, tokenizer)
    longest = len(root.token_ids) + len(root.children[0].token_ids)
    assert longest > 96
    message = rf"'gsm-17' \(prompt 'Natalia sold'\): a path has {longest} tokens.* 96"
    with pytest.raises(ContextLengthError, match=message):
        model(pack(trees))


def test_only_what_is_asked_for_is_computed(build, trees):
    model, packed = build("llama", head="value"), pack(trees)
    out = model(packed, logprobs=False, heads=("value",))
    assert out.logprobs is None
    assert out.entropy is None
    out = model(packed, logprobs=False, entropy=True)
    assert out.logprobs is None
    assert out.entropy.shape == packed.targets.shape
    assert out.heads == {}


def test_log_probs_of_other_tokens_are_of_the_same_places(build, trees):
    model, packed = build("gpt2"), pack(trees)
    best = model(packed, top=2).top
    for place in (0, 1):
        torch.testing.assert_close(model(packed, tokens=best[1][:, place]).logprobs, best[0][:, place])
