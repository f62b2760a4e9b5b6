"""The local engine against the model run plainly, one text at a time."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats

from espalier.engines import Engine, LocalEngine, Sampling, layers, replay
from espalier.errors import ConfigError, ContextLengthError, EngineError, ModelError
from espalier.models import Model, Outputs, Packed, token_path
from espalier.models.numerics import matrix_products
from espalier.trees import Node, Tree

from .conftest import ids, tiny, watch

PROMPTS = ("12+3=", "7", "34 + 12 * 46 - 1 = ", "12+3=", "98*2")


def prompts(*texts: str) -> list[Node]:
    return [Node(text, "prompt") for text in texts or PROMPTS]


def logits(model: Model, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.hf(torch.tensor([tokens]), use_cache=False).logits[0]


def test_it_is_an_engine(qwen: Model) -> None:
    assert isinstance(LocalEngine(qwen), Engine)


def test_the_engines_room_needs_no_torch_until_an_engine_is_asked_for() -> None:
    code = "import espalier.engines, sys; espalier.engines.Sampling(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("batch_size", [3, 64])
def test_sampled_logprobs_are_those_of_a_replay(model: Model, batch_size: int) -> None:
    trees = [Tree(root) for root in prompts()]
    roots = [tree.root for tree in trees]
    sampling = Sampling(max_tokens=40, temperature=0.7, seed=1)
    for root, nodes in zip(roots, LocalEngine(model, batch_size=batch_size).extend(roots, 4, sampling), strict=True):
        for node in nodes:
            root.add(node)
    parity = replay(model, trees, temperature=0.7)
    assert parity.n_tokens == sum(len(node.token_ids or []) for tree in trees for node in tree.leaves())
    assert parity.n_tokens > 200
    assert parity.max_abs < 1e-4
    assert parity.cut_mass == 0


def test_greedy_is_what_transformers_generates(model: Model) -> None:
    out = LocalEngine(model, batch_size=3).extend(prompts(), 1, Sampling(max_tokens=30, temperature=0))
    for prompt, (node,) in zip(prompts(), out, strict=True):
        tokens = torch.tensor([token_path(prompt, model.tokenizer)])
        expected = model.hf.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=30
        )[0, tokens.shape[1] :]
        assert node.token_ids == expected.tolist()
        own = logits(model, [*tokens[0].tolist(), *expected.tolist()])[tokens.shape[1] - 1 : -1].log_softmax(-1)
        torch.testing.assert_close(torch.tensor(node.logprobs), own.gather(1, expected[:, None])[:, 0])


def test_one_token_is_drawn_with_the_models_own_frequencies(model: Model) -> None:
    (prompt,) = prompts("12+3=")
    (nodes,) = LocalEngine(model).extend([prompt], 5000, Sampling(max_tokens=1, temperature=1.5, seed=4))
    exact = (logits(model, token_path(prompt, model.tokenizer))[-1] / 1.5).double().softmax(-1)
    counts = torch.bincount(torch.tensor([node.token_ids[0] for node in nodes if node.token_ids]), minlength=len(exact))
    assert (exact * 5000 >= 5).all(), "the chi-square test needs five expected draws in a cell"
    assert stats.chisquare(counts, exact * 5000).pvalue > 0.01


def test_what_a_row_draws_does_not_depend_on_the_batch(model: Model) -> None:
    sampling = Sampling(max_tokens=40, seed=2, stop=("=",), top_p=0.95)
    whole = LocalEngine(model, batch_size=64).extend(prompts(), 5, sampling)
    assert len({len(node.token_ids or []) for nodes in whole for node in nodes}) > 5, "rows should end at many lengths"
    for batch_size in (1, 2, 7):
        out = LocalEngine(model, batch_size=batch_size).extend(prompts(), 5, sampling)
        assert ids(out) == ids(whole)
        for nodes, others in zip(out, whole, strict=True):
            for node, other in zip(nodes, others, strict=True):
                assert (node.text, node.stop) == (other.text, other.stop)
                assert node.logprobs == pytest.approx(other.logprobs, abs=1e-5)
                assert node.meta["cut_mass"] == pytest.approx(other.meta["cut_mass"], abs=1e-5)


def test_what_a_prefix_gets_does_not_depend_on_its_neighbours_and_fewer_samples_are_the_first(qwen: Model) -> None:
    engine, sampling = LocalEngine(qwen), Sampling(max_tokens=20, seed=2)
    whole = ids(engine.extend(prompts(), 4, sampling))
    assert ids(engine.extend(prompts(PROMPTS[2]), 2, sampling)) == [whole[2][:2]]
    assert ids(engine.extend(prompts(*PROMPTS[1:3]), 4, sampling)) == whole[1:3]


def test_a_seed_repeats_and_another_differs_and_equal_prefixes_get_draws_of_their_own(qwen: Model) -> None:
    engine = LocalEngine(qwen)
    first = ids(engine.extend(prompts(), 3, Sampling(max_tokens=20, seed=5)))
    assert ids(engine.extend(prompts(), 3, Sampling(max_tokens=20, seed=5))) == first
    assert ids(engine.extend(prompts(), 3, Sampling(max_tokens=20, seed=6))) != first
    assert PROMPTS[0] == PROMPTS[3]
    assert first[0] != first[3]


def test_each_distinct_prefix_is_prefilled_once_whatever_the_batch_size(qwen: Model) -> None:
    passes = watch(qwen)
    same_length = prompts("12+3=", "46-1=", "12+3=")
    for batch_size in (1, 4, 64):
        engine = LocalEngine(qwen, batch_size=batch_size)
        passes.tokens = 0
        out = engine.extend(same_length, 6, Sampling(max_tokens=8, seed=1))
        generated = sum(len(tokens) for nodes in ids(out) for tokens in nodes)
        assert engine.spent.generated == generated
        assert engine.spent.prefilled == 10
        assert engine.spent.calls == 1
        assert engine.spent.seconds > 0
        assert passes.tokens == 10 + generated - 18, "the last token of a row predicts nothing and is not run"


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_stop_string_that_straddles_tokens_ends_the_row_at_the_token_that_completes_it(
    family: str, pieces: Any
) -> None:
    model = tiny(family, pieces, sharpen=1.5)
    engine = LocalEngine(model, batch_size=5)
    starts = prompts("the cat", "a dog ran", "好")
    free = engine.extend(starts, 8, Sampling(max_tokens=40, seed=3))
    decode = lambda tokens: pieces.decode(tokens, clean_up_tokenization_spaces=False)  # noqa: E731
    words = [pieces.decode([token]) for token in range(len(pieces))]
    straddling = next(
        words[a][-1] + words[b][0]
        for nodes in free
        for node in nodes
        for a, b in zip((node.token_ids or [])[3:], (node.token_ids or [])[4:], strict=False)
        if a < 300 and b < 300 and (words[a] + words[b]).isascii() and (words[a] + words[b]).strip()
    )
    stop = (straddling, "zz never zz")
    halted = engine.extend(starts, 8, Sampling(max_tokens=40, seed=3, stop=stop))
    hits = 0
    for nodes, others in zip(halted, free, strict=True):
        for node, other in zip(nodes, others, strict=True):
            tokens = other.token_ids or []
            ends = [i for i in range(1, len(tokens) + 1) if straddling in decode(tokens[:i])]
            if other.stop == "eos" and ends == [len(tokens)]:
                ends = []
            assert node.token_ids == (tokens[: ends[0]] if ends else tokens)
            assert node.stop == ("stop" if ends else other.stop)
            assert (straddling in node.text) == bool(ends)
            hits += bool(ends)
    assert hits


def test_an_end_token_is_kept_in_the_ids_and_left_out_of_the_text(qwen: Model) -> None:
    equals = qwen.tokenizer.convert_tokens_to_ids("=")
    qwen.hf.generation_config.eos_token_id = [equals, qwen.tokenizer.convert_tokens_to_ids("3")]
    out = LocalEngine(qwen).extend(prompts(), 8, Sampling(max_tokens=60))
    ended = [node for nodes in out for node in nodes if node.stop == "eos"]
    ends = {*qwen.hf.generation_config.eos_token_id, qwen.tokenizer.eos_token_id}
    assert {node.token_ids[-1] for node in ended if node.token_ids} == ends
    for node in ended:
        assert node.token_ids is not None
        assert not ends & set(node.token_ids[:-1])
        assert node.text == qwen.tokenizer.decode(node.token_ids[:-1])
        assert len(node.logprobs or []) == len(node.token_ids)


def test_a_row_stops_where_the_context_is_full_and_a_prefix_that_fills_it_is_an_error(qwen: Model) -> None:
    assert qwen.context_length == 96
    out = LocalEngine(qwen).extend(prompts("1" * 93, "12"), 3, Sampling(max_tokens=200))
    assert [(node.stop, len(node.token_ids or [])) for node in out[0]] == [("length", 3)] * 3
    with pytest.raises(ContextLengthError, match=r"begins '1111.* has 96 tokens.* context is 96"):
        LocalEngine(qwen).extend(prompts("12", "1" * 96), 1, Sampling())


def test_going_on_from_a_deep_node_is_going_on_from_its_text(model: Model) -> None:
    root = Node("12+3", "prompt")
    deep = root.add(Node("4=4", token_ids=model.tokenizer("4=4").input_ids)).add(Node("6 - 1", author="human"))
    assert deep.full_text() == "12+34=46 - 1"
    engine, sampling = LocalEngine(model), Sampling(max_tokens=20, seed=8)
    assert ids(engine.extend([deep], 3, sampling)) == ids(engine.extend(prompts("12+34=46 - 1"), 3, sampling))
    assert root.meta["tokenizer"] == model.fingerprint
    assert root.children[0].children[0].is_leaf, "the caller attaches what it keeps"


def test_cut_mass_is_recorded_only_where_something_cuts(qwen: Model) -> None:
    engine = LocalEngine(qwen)
    for sampling, cuts in (
        (Sampling(max_tokens=5, top_k=2), True),
        (Sampling(max_tokens=5, top_p=0.5), True),
        (Sampling(max_tokens=5), False),
        (Sampling(max_tokens=5, top_k=2, temperature=0), False),
    ):
        for node in (node for nodes in engine.extend(prompts(), 2, sampling) for node in nodes):
            assert ("cut_mass" in node.meta) == cuts
    (node,) = engine.extend(prompts("12"), 1, Sampling(max_tokens=1, top_k=2))[0]
    exact = logits(qwen, token_path(prompts("12")[0], qwen.tokenizer))[-1].softmax(-1)
    assert node.meta["cut_mass"] == pytest.approx(1 - exact.topk(2).values.sum().item(), abs=1e-5)


def test_the_model_is_afterwards_as_it_was(qwen: Model) -> None:
    engine = LocalEngine(qwen)
    qwen.train()
    qwen.hf.base_model.layers[0].eval()
    before = [(module.training, set(vars(module))) for module in qwen.modules()], qwen.hf.config._attn_implementation
    engine.extend(prompts(), 2, Sampling(max_tokens=3))
    with torch.no_grad():
        qwen.hf.base_model.norm.weight.fill_(torch.nan)
    with pytest.raises(EngineError, match="not finite"):
        engine.extend(prompts(), 2, Sampling(max_tokens=3))
    after = [(module.training, set(vars(module))) for module in qwen.modules()], qwen.hf.config._attn_implementation
    assert after == before


def test_sampling_follows_the_weights_as_they_are_trained_also_through_an_adapter(qwen: Model) -> None:
    engine, sampling = LocalEngine(qwen), Sampling(max_tokens=12)
    plain = ids(engine.extend(prompts(), 2, sampling))
    qwen.add_lora(rank=2)
    assert ids(engine.extend(prompts(), 2, sampling)) == plain
    with torch.no_grad():
        for weight in qwen.parameters():
            if weight.requires_grad:
                weight.add_(0.3)
    changed = engine.extend(roots := prompts(), 2, sampling)
    assert ids(changed) != plain
    for root, nodes in zip(roots, changed, strict=True):
        for node in nodes:
            root.add(node)
    assert replay(qwen, [Tree(root) for root in roots], 1.0).max_abs < 1e-4


def test_what_cannot_be_continued_says_so(qwen: Model) -> None:
    engine = LocalEngine(qwen)
    assert engine.extend([], 3, Sampling()) == []
    root = Node("12=", "prompt")
    over = root.add(Node("3", stop="eos"))
    for prefix in (over, over.add(Node(" again"))):
        with pytest.raises(ValueError, match=r"has ended.*extend its parent"):
            engine.extend([prefix], 1, Sampling())
    with pytest.raises(EngineError, match="no token"):
        engine.extend([Node("", "prompt")], 1, Sampling())
    with pytest.raises(ConfigError, match="n must be at least 1"):
        engine.extend([root], 0, Sampling())
    with pytest.raises(ConfigError, match=r"stop must be a tuple of strings, found '12'"):
        Sampling(stop="12")  # type: ignore[arg-type]
    assert Sampling(stop=["1", "2"]) == Sampling(stop=("1", "2"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="empty stop string"):
        engine.extend([root], 1, Sampling(stop=("",)))
    foreign = Node("12", "prompt", token_ids=[1, 2], meta={"tokenizer": "another"})
    with pytest.raises(ModelError, match="token ids of tokenizer another"):
        engine.extend([foreign], 1, Sampling())
    assert engine.spent.calls == 0


def test_layers_give_the_same_inside_the_fast_context_and_are_as_before_outside(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = torch.arange(12)[None]
    plain = model.hf(tokens).logits
    for onednn in (True, False):
        monkeypatch.setattr("espalier.models.layers.prefers_onednn", partial(bool, onednn))
        with torch.inference_mode(), layers.fast_layers(model.hf, "fp32", {}):
            swapped = {type(module) for module in model.hf.modules() if "forward" in vars(module)}
            assert (type(model.hf.lm_head) in swapped) == onednn
            assert any(kind.__name__.endswith("RMSNorm") for kind in swapped) == (model.hf.config.model_type != "gpt2")
            torch.testing.assert_close(model.hf(tokens).logits, plain, atol=1e-5, rtol=1e-5)
    assert not any("forward" in vars(module) for module in model.hf.modules())
    assert model.hf(tokens).logits.requires_grad


def test_bf16_casts_weights_once_keeps_the_output_layer_and_agrees_with_training_in_bf16(qwen: Model) -> None:
    engine = LocalEngine(qwen, precision="bf16")
    roots = prompts()
    out = engine.extend(roots, 3, Sampling(max_tokens=20, seed=1))
    casts = dict(engine._casts)
    assert casts
    assert qwen.hf.lm_head not in casts
    for root, nodes in zip(roots, out, strict=True):
        for node in nodes:
            root.add(node)
    engine.extend(prompts(), 3, Sampling(max_tokens=2, seed=2))
    assert all(engine._casts[layer][0] is weight for layer, (weight, _) in casts.items())
    trees = [Tree(root) for root in roots]

    def training(packed: Packed) -> Outputs:
        with matrix_products("bf16", qwen.device):
            return qwen(packed)

    assert replay(qwen, trees, 1.0, training).mean_abs < replay(qwen, trees, 1.0).mean_abs
    with torch.no_grad():
        qwen.hf.base_model.layers[0].mlp.up_proj.weight.mul_(1.5)
    engine.extend(prompts(), 1, Sampling(max_tokens=2))
    layer = qwen.hf.base_model.layers[0].mlp.up_proj
    assert torch.equal(engine._casts[layer][0], layer.weight.bfloat16())


def test_replay_notices_other_weights_and_missing_log_probs(qwen: Model) -> None:
    tree = Tree(Node("12+3=", "prompt"))
    with pytest.raises(ValueError, match="no node has sampled log-probs"):
        replay(qwen, [tree], 1.0)
    (node,) = LocalEngine(qwen).extend([tree.root], 1, Sampling(max_tokens=9, top_k=3))[0]
    tree.root.add(node)
    parity = replay(qwen, [tree], 1.0)
    assert parity.max_abs < 1e-4
    assert parity.cut_mass == pytest.approx(node.meta["cut_mass"])
    with torch.no_grad():
        qwen.hf.lm_head.weight.mul_(1.2)
    assert replay(qwen, [tree], 1.0).max_abs > 1e-2
    node.logprobs = (node.logprobs or [])[:-1]
    with pytest.raises(ValueError, match="log-probs for"):
        replay(qwen, [tree], 1.0)
