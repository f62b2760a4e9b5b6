"""One tree, three layouts, and plain transformers: the same numbers and the same gradients (fp32, 1e-5)."""

import pytest
import torch

from espalier.models import attention, pack, products
from espalier.models import plan as rules
from espalier.models.attention import _attend_flex, _attend_sdpa
from espalier.trees import Node, Tree


def result(model, packed, layout):
    """Leaf log-probs, the head at each leaf's end, and every parameter's gradient of a sum that weighs them all."""
    out = model(packed, heads=("value",), layout=layout)
    sums, ends = packed.leaf_sums(out.logprobs), out.heads["value"][packed.last[packed.leaves]]
    weights = torch.linspace(0.5, 1.5, len(sums))
    model.zero_grad()
    ((sums * weights).sum() / 50 + (ends * weights).sum() / 50).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return sums.detach(), ends.detach(), grads


def plain(model, trees):
    """The same from separate runs of the transformers model, one a path."""
    sums, ends = [], []
    for leaf in (leaf for tree in trees for leaf in tree.leaves()):
        ids = torch.tensor([[token for node in leaf.path() for token in node.token_ids]])
        wanted = [node.author == "policy" for node in leaf.path() for _ in node.token_ids][1:]
        table = model.hf(input_ids=ids).logits[0, :-1].log_softmax(-1)
        found = table.gather(1, ids[0, 1:, None])[:, 0]
        sums.append(found[torch.tensor(wanted)].sum())
        ends.append(model.heads["value"](model.hf.base_model(input_ids=ids).last_hidden_state[0, -1])[0])
    sums, ends = torch.stack(sums), torch.stack(ends)
    weights = torch.linspace(0.5, 1.5, len(sums))
    model.zero_grad()
    ((sums * weights).sum() / 50 + (ends * weights).sum() / 50).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return sums.detach(), ends.detach(), grads


@pytest.mark.parametrize(
    ("family", "many"), [("qwen2", 600), ("llama", 600), ("gpt2", 600), ("qwen3", 600), ("llama", 0)]
)
def test_tree_flat_padded_and_separate_runs_agree_forward_and_gradient(build, trees, monkeypatch, family, many):
    monkeypatch.setattr(attention, "MANY_KEYS", many)
    model = build(family, head="value")
    expected = plain(model, trees)
    for shared, layout in ((True, "tree"), (False, "tree"), (True, "padded"), (False, "padded")):
        sums, ends, grads = result(model, pack(trees, shared=shared), layout)
        torch.testing.assert_close(sums, expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ends, expected[1], atol=1e-5, rtol=1e-5)
        assert grads.keys() == expected[2].keys()
        for name, grad in grads.items():
            torch.testing.assert_close(grad, expected[2][name], atol=1e-5, rtol=1e-5, msg=f"{name} {shared} {layout}")


def plain_attention(query, key, value, tree, scale):
    """From the plan's subtree ends alone: one table of all pairs."""
    place = torch.arange(query.shape[1])
    seen = (place <= place[:, None]) & (place[:, None] < tree.subtree_end)
    key, value = (x.repeat_interleave(len(query) // len(x), 0) for x in (key, value))
    scores = (query @ key.transpose(1, 2) * scale).masked_fill(~seen, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(0, 1)


@pytest.mark.parametrize("keep", [0, 1024])
def test_attention_in_blocks_has_the_values_and_gradients_of_one_table(trees, monkeypatch, keep):
    monkeypatch.setattr(products, "KEEP", keep)
    monkeypatch.setattr(rules, "SHORT", 4)
    monkeypatch.setattr(rules, "FIXED", 50)
    tree = pack(trees).plan
    tokens = len(tree.subtree_end)
    torch.manual_seed(0)
    inputs = [torch.randn(*shape, dtype=torch.float64) for shape in ((4, tokens, 6), (2, tokens, 6), (2, tokens, 5))]
    weights = torch.randn(tokens, 4, 5, dtype=torch.float64)
    answers = []
    for function in (products.attend, plain_attention):
        leaves = [each.clone().requires_grad_() for each in inputs]
        out = function(*leaves, tree, 0.3)
        answers.append((out, *torch.autograd.grad((out * weights).sum(), leaves)))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-10)


def test_what_attention_keeps_and_makes_grows_with_the_tokens_and_not_with_their_square(monkeypatch):
    monkeypatch.setattr(products, "KEEP", 64)
    monkeypatch.setattr(rules, "SHORT", 16)
    monkeypatch.setattr(rules, "LONG", 16)
    monkeypatch.setattr(rules, "FIXED", 0)
    sizes = {}
    for tokens in (256, 512):
        tree = pack([Tree(Node("", "prompt", token_ids=[1] * tokens))]).plan
        inputs = [torch.randn(heads, tokens, 4, requires_grad=True) for heads in (4, 2, 2)]
        out = products.attend(*inputs, tree, 1.0)
        kept = [each.numel() for each in out.grad_fn.saved_tensors if each is not None]
        sizes[tokens] = sum(kept)
        assert max(kept) <= 4 * max(tokens * 4, 16 * 64)
    assert sizes[512] < 2.01 * sizes[256]


def test_the_other_ways_to_attend_give_what_the_products_give(trees):
    """Flex attention, for a GPU, runs here uncompiled and forward only; PyTorch's own serves dropout and long texts."""
    from torch.nn.attention.flex_attention import flex_attention

    tree = pack(trees).plan
    tokens = len(tree.subtree_end)
    query, key, value = torch.randn(1, 4, tokens, 16), torch.randn(1, 2, tokens, 16), torch.randn(1, 2, tokens, 16)
    expected = products.attend(query[0], key[0], value[0], tree, 0.3)[None]
    with pytest.warns(UserWarning, match="without torch.compile"):
        fused = _attend_flex(query, key, value, tree, 0.3, flex_attention)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(_attend_sdpa(query, key, value, tree, 0.0, 0.3), expected, atol=1e-5, rtol=1e-5)


def test_dropout_inside_attention_is_drawn_and_reaches_the_gradient(build, trees):
    model, packed = build("qwen2", head="value", attention_dropout=0.3).train(), pack(trees)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(result(model, packed, "tree")[0])
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-3)


def test_generation_and_a_plain_forward_are_untouched_by_a_packed_forward(build, trees):
    model = build("qwen2")
    ids = torch.tensor([[5, 6, 7, 8]])
    before = model.hf(input_ids=ids).logits
    text = model.hf.generate(ids, max_new_tokens=8, do_sample=False)
    model(pack(trees), layout="tree")
    torch.testing.assert_close(model.hf(input_ids=ids).logits, before)
    assert torch.equal(model.hf.generate(ids, max_new_tokens=8, do_sample=False), text)
    batch = torch.tensor([[5, 6, 7, 8], [1, 1, 5, 6]])
    padded = model.hf(input_ids=batch, attention_mask=torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])).logits
    torch.testing.assert_close(padded[0], before[0], atol=1e-5, rtol=1e-5)


def test_activation_checkpointing_recomputes_with_the_tree(build, trees):
    model = build("qwen2", head="value").train()
    packed = pack(trees)
    expected = result(model, packed, "tree")
    model.hf.activation_checkpointing_enable()
    found = result(model, packed, "tree")
    for name, grad in found[2].items():
        torch.testing.assert_close(grad, expected[2][name], atol=1e-6, rtol=1e-5)


def test_the_same_pack_gives_the_same_bits_again_and_again(build, trees):
    model, packed = build("llama", head="value"), pack(trees)
    torch.use_deterministic_algorithms(True)
    try:
        first = result(model, packed, "tree")
        for _ in range(3):
            again = result(model, pack(trees), "tree")
            assert torch.equal(first[0], again[0])
            assert all(torch.equal(grad, again[2][name]) for name, grad in first[2].items())
    finally:
        torch.use_deterministic_algorithms(False)


def test_bfloat16_autocast_stays_close_to_fp32(build, trees):
    model, packed = build("qwen2", head="value"), pack(trees)
    exact = model(packed, heads=("value",), entropy=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(packed, heads=("value",), entropy=True)
        (rough.logprobs.sum() + rough.heads["value"].sum()).backward()
    assert rough.logprobs.dtype == rough.entropy.dtype == rough.heads["value"].dtype == torch.float32
    torch.testing.assert_close(rough.logprobs, exact.logprobs, atol=0.2, rtol=0.05)
    assert not torch.equal(rough.logprobs, exact.logprobs)
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads
    assert all(grad.dtype == torch.float32 and grad.isfinite().all() for grad in grads)
