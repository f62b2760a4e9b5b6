"""A model whose layers cannot see a tree falls back to padded batches, gives the right numbers, and says so once."""

import warnings

import pytest
import torch

from espalier.errors import ModelError
from espalier.models import encode, from_config, pack, train_tokenizer
from espalier.models import model as module
from espalier.models.capability import check_logits, tree_obstacle
from espalier.trees import Node, Tree

HYBRID = {
    "num_hidden_layers": 4,
    "head_dim": 8,
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}


def own_logprobs(model, trees):
    """Leaf log-probs from plain runs, one a path."""
    sums = []
    for leaf in (leaf for tree in trees for leaf in tree.leaves()):
        ids = torch.tensor([token for node in leaf.path() for token in node.token_ids])
        wanted = torch.tensor([node.author == "policy" for node in leaf.path() for _ in node.token_ids][1:])
        table = model.hf(input_ids=ids[None]).logits[0, :-1].log_softmax(-1)
        sums.append(table.gather(1, ids[1:, None])[:, 0][wanted].sum())
    return torch.stack(sums)


@pytest.mark.parametrize(
    ("family", "settings", "reason"),
    [("qwen3_next", HYBRID, "linear_attention"), ("bloom", {}, "registry")],
)
def test_other_layers_fall_back_to_padded_batches_and_warn_once(build, trees, monkeypatch, family, settings, reason):
    monkeypatch.setattr(module, "_said", set())
    model = build(family, **settings)
    packed = pack(trees)
    with pytest.warns(UserWarning, match=f"cannot run packed trees: .*{reason}"):
        found = packed.leaf_sums(model(packed).logprobs)
    torch.testing.assert_close(found, own_logprobs(model, trees), atol=1e-5, rtol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(packed)
    with pytest.raises(ModelError, match=reason):
        model(packed, layout="tree")


def test_a_sliding_window_is_a_tree_until_a_path_is_longer(build, monkeypatch):
    monkeypatch.setattr(module, "_said", set())
    model = build("mistral", sliding_window=12, head_dim=8)

    def tree(length: int) -> Tree:
        root = Node("", "prompt", token_ids=[5] * 6)
        root.add(Node("", token_ids=[7, 8, 9, 10, 11, 12, 13, 14][:length]))
        root.add(Node("", token_ids=[6] * length))
        return Tree(root)

    short, long = [tree(6)], [tree(8)]
    packed = pack(short)
    torch.testing.assert_close(
        packed.leaf_sums(model(packed, layout="tree").logprobs), own_logprobs(model, short), atol=1e-5, rtol=1e-5
    )
    packed = pack(long)
    with pytest.warns(UserWarning, match="a path of 14 tokens passes its sliding window of 12"):
        found = packed.leaf_sums(model(packed).logprobs)
    torch.testing.assert_close(found, own_logprobs(model, long), atol=1e-5, rtol=1e-5)


def test_the_trial_leaves_modes_and_random_numbers_as_they_were(build):
    model = build("gpt2").train()
    model.hf.transformer.h[0].eval()
    state = torch.get_rng_state()
    assert tree_obstacle(model.hf) is None
    check_logits(model.hf)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.hf.transformer.h[0].training
    assert model.hf.transformer.h[1].training


def test_the_trial_fits_a_tiny_vocabulary_and_context():
    tokenizer = train_tokenizer(["a"], kind="char")
    model = from_config({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}, tokenizer)
    root = Node("a", "prompt")
    root.add(Node("a", stop="eos"))
    root.add(Node("aa"))
    trees = [Tree(root)]
    encode(trees, tokenizer)
    packed = pack(trees)
    torch.testing.assert_close(packed.leaf_sums(model(packed, layout="tree").logprobs), own_logprobs(model, trees))


def test_logits_changed_in_an_unknown_way_are_refused(build, trees):
    model = build("llama")
    model.hf.lm_head.register_forward_hook(lambda module, args, out: out + torch.arange(out.shape[-1]))
    with pytest.raises(ModelError, match="changes its logits in a way"):
        model(pack(trees))
