"""Linear layers through oneDNN: the numbers and gradients of PyTorch's own, and the model as it was afterwards."""

import pytest
import torch

from espalier.models import layers, linears, pack


@pytest.fixture
def forced(monkeypatch):
    """As on a processor that prefers oneDNN."""
    if linears._operator() is None:
        pytest.skip("this build of PyTorch has no oneDNN")
    used = []
    original = linears._product
    monkeypatch.setattr(linears, "_product", lambda *args: used.append(1) or original(*args))
    monkeypatch.setattr(layers, "prefers_onednn", lambda: True)
    return used


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
@pytest.mark.parametrize("adapted", [False, True])
def test_a_training_pass_has_the_gradients_of_the_plain_one(build, trees, forced, family, adapted):
    found = []
    for plain in (True, False):
        model = build(family, head="value")
        if adapted:
            torch.manual_seed(0)
            model.add_lora(rank=2)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "lora_B" in name:
                        parameter.fill_(0.1)
        if plain:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(layers, "prefers_onednn", lambda: False)
                out = model(pack(trees), heads=("value",), layout="tree")
            assert not forced
        else:
            out = model(pack(trees), heads=("value",), layout="tree")
            assert forced
        assert all("forward" not in vars(each) for each in model.modules())
        (out.logprobs.sum() + out.heads["value"].sum()).backward()
        found.append((out, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (plain_out, plain_grads), (out, grads) = found
    torch.testing.assert_close(out.logprobs, plain_out.logprobs, atol=1e-5, rtol=1e-5)
    assert grads.keys() == plain_grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, plain_grads[name], atol=1e-4, rtol=1e-4)


def test_activation_checkpointing_and_autocast_keep_to_pytorchs_own(build, trees, forced):
    model = build("qwen2").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(pack(trees)).logprobs.sum().backward()
    model.hf.activation_checkpointing_enable()
    model(pack(trees)).logprobs.sum().backward()
    assert not forced
