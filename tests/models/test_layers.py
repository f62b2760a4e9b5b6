"""Faster norms and rotary positions: the numbers and gradients of each family's own, and no other family's."""

from types import SimpleNamespace

import pytest
import torch
from transformers.models.cohere.modeling_cohere import CohereAttention
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.glm.modeling_glm import GlmAttention
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention

from espalier.models import layers, pack
from espalier.models.norms import fast_norm, rms_norm
from espalier.models.rotary import _Rotation, fast_rotary


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm])
def test_a_norm_has_the_value_and_gradients_of_its_familys(kind):
    torch.manual_seed(0)
    norm, x, weights = kind(48), torch.randn(2, 7, 48) * 3 + 1, torch.randn(2, 7, 48)
    torch.nn.init.normal_(norm.weight)
    found = []
    for forward in (norm, fast_norm(norm)):
        leaf = x.clone().requires_grad_()
        out = forward(leaf)
        found.append((out, *torch.autograd.grad((out * weights).sum(), (leaf, norm.weight))))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(fast_norm(norm)(x), found[1][0])
    half = x.bfloat16()
    assert torch.equal(fast_norm(norm)(half), norm(half))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fast_norm(norm)(x).dtype == norm(x).dtype


def test_a_norms_gradients_are_those_of_finite_differences_also_for_rows_near_zero_and_for_one_input_alone():
    torch.manual_seed(0)
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    x[0, 0] *= 1e-3
    weight = torch.randn(5, dtype=torch.float64)
    for trained in ((True, True), (True, False), (False, True)):
        inputs = [each.clone().requires_grad_(wanted) for each, wanted in zip((x, weight), trained, strict=True)]
        assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, 1e-6), inputs)


def test_rotations_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    x, (cos, sin) = torch.randn(1, 3, 2, 6, dtype=torch.float64), torch.randn(2, 1, 1, 2, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: _Rotation.apply(x, cos, sin), x.requires_grad_())


def test_what_a_family_does_differently_is_left_to_it():
    assert fast_norm(GemmaRMSNorm(8)) is None  # times 1 + weight
    assert fast_norm(torch.nn.LayerNorm(8)) is None
    for kind in (CohereAttention, GlmAttention):  # they turn pairs of neighbours
        assert fast_rotary(kind.__new__(kind)) is None
    assert fast_rotary(torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize(("family", "rotary"), [("qwen2", 2), ("llama", 2), ("qwen3", 2), ("gemma", 2), ("cohere", 0)])
def test_a_training_pass_through_them_is_that_of_the_plain_model(build, trees, monkeypatch, family, rotary):
    model, found, seen = build(family), [], []
    own = layers.fast_rotary
    for plain in (True, False):
        if plain:
            monkeypatch.setattr("espalier.models.model.fast_layers", lambda model: layers.swapped(model))
        else:
            monkeypatch.setattr("espalier.models.model.fast_layers", layers.fast_layers)
            monkeypatch.setattr(layers, "fast_rotary", lambda module: seen.append(own(module)) or seen[-1])
        model.zero_grad()
        out = model(pack(trees))
        out.logprobs.sum().backward()
        with torch.no_grad():
            torch.testing.assert_close(model(pack(trees)).logprobs, out.logprobs, atol=1e-6, rtol=1e-6)
        found.append((out.logprobs, {name: p.grad for name, p in model.named_parameters()}))
        assert not any("forward" in vars(module) for module in model.modules())
    assert sum(each is not None for each in seen) == 2 * rotary  # in either pass
    torch.testing.assert_close(found[1][0], found[0][0], atol=1e-5, rtol=1e-5)
    for name, grad in found[1][1].items():
        torch.testing.assert_close(grad, found[0][1][name], atol=1e-4, rtol=1e-4, msg=name)


def test_a_family_that_turns_a_part_of_a_state_does_it_itself():
    own = Qwen3NextAttention.forward.__globals__["apply_rotary_pos_emb"]
    swapped = fast_rotary(Qwen3NextAttention.__new__(Qwen3NextAttention)).__func__.__globals__["apply_rotary_pos_emb"]
    torch.manual_seed(0)
    inputs = torch.randn(1, 2, 3, 8), torch.randn(1, 1, 3, 8), torch.randn(1, 3, 4), torch.randn(1, 3, 4)
    for theirs, ours in zip(own(*inputs), swapped(*inputs), strict=True):
        assert torch.equal(theirs, ours)


def test_a_layer_that_has_another_forward_already_keeps_it():
    norm = LlamaRMSNorm(4)
    norm.forward = SimpleNamespace(mine=True)
    with layers.fast_layers(norm):
        assert norm.forward.mine
    assert norm.forward.mine
