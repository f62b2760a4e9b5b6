"""Gradients that are added to `.grad` where they are made: the same sums, and no second tensor of the matrix's size."""

import pytest
import torch

from espalier.models import pack
from espalier.models.in_place import gradients_in_place


def gradients(model, trees, steps=2):
    """Of a few backward passes, each on its own trees, without a reset between them."""
    model.zero_grad()
    for tree in trees[:steps]:
        out = model(pack([tree]), entropy=True)
        (out.logprobs.sum() + out.entropy.mean()).backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("qwen2", False), ("gpt2", True)])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_gradients_in_place_are_those_of_autograd(build, trees, family, tied, dtype):
    model = build(family, tie_word_embeddings=tied)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        expected = gradients(model, trees)
        with gradients_in_place(model.hf):
            found = gradients(model, trees)
    # With bf16 products the sum over tiles stays in fp32 here, where autograd rounds it to bf16 first.
    tolerance = 1e-6 if dtype is None else 0.02 * max(float(grad.abs().max()) for grad in expected.values())
    assert expected.keys() == found.keys()
    for name, grad in found.items():
        assert grad.layout == torch.strided
        torch.testing.assert_close(grad, expected[name], atol=tolerance, rtol=1e-5, msg=name)


def test_a_frozen_output_matrix_gets_no_gradient(build, trees):
    model = build("qwen2", tie_word_embeddings=True)
    model.add_lora(rank=2)
    with gradients_in_place(model.hf):
        found = gradients(model, trees)
    assert found.keys() > {name for name, grad in found.items() if grad is not None} > set()
    assert model.hf.get_output_embeddings().weight.grad is None
    assert not model.hf.get_input_embeddings().sparse


def test_the_output_matrix_sums_into_the_tensor_that_is_there(build, trees):
    model = build("qwen2", tie_word_embeddings=True)
    weight = model.hf.get_output_embeddings().weight
    with gradients_in_place(model.hf):
        gradients(model, trees, steps=1)
        before = weight.grad
        model(pack([trees[1]])).logprobs.sum().backward()
    assert weight.grad is before
