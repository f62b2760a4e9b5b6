"""Strategies with a real model that samples and a real value model that judges."""

from __future__ import annotations

import pytest
import torch

from espalier.engines import LocalEngine
from espalier.engines.base import Sampling
from espalier.models import Model, from_config, train_tokenizer
from espalier.scorers import ValueScorer
from espalier.search import BestOfN, Greedy, MajorityVote, StepBeam, WeightedVote
from espalier.trees import Forest, Node, Tree
from tests.tiny import config

CONFIG = config("qwen2", kv_heads=1, max_position_embeddings=40)


@pytest.fixture(scope="module")
def model() -> Model:
    """Untrained, so each of its ten characters and the end are about as likely as any other."""
    model = from_config(CONFIG, train_tokenizer(["0123456\n+="], kind="char"), seed=0)
    model.add_head("value", link="probability")
    torch.manual_seed(0)
    for weight in model.heads.parameters():
        torch.nn.init.normal_(weight)
    return model


def problems() -> Forest:
    return Forest([Tree(Node(f"{i}+{i}=", "prompt"), id=str(i)) for i in range(5)])


@pytest.mark.parametrize(
    "strategy",
    [
        Greedy(max_tokens=10),
        BestOfN(4, Sampling(max_tokens=10), batch=2),
        MajorityVote(4, Sampling(max_tokens=10), batch=2),
        WeightedVote(4, Sampling(max_tokens=10), batch=2),
        StepBeam(2, 3, Sampling(max_tokens=10), max_steps=6, batch=2),
    ],
    ids=lambda strategy: strategy.name,
)
def test_ledgers_of_trees_add_up_to_the_whole(model, strategy):
    engine, scorer = LocalEngine(model), ValueScorer(model)
    found = strategy.search(problems(), engine, scorer)
    assert found.ledger == engine.spent + scorer.spent
    assert sum(each.generated for each in found.ledgers) == found.ledger.generated > 0
    assert sum(each.scored for each in found.ledgers) == found.ledger.scored
    for tree, ledger in zip(found.forest, found.ledgers, strict=True):
        assert ledger.generated >= sum(len(node.token_ids) for node in tree.walk() if node.parent)


def test_a_long_prompt_is_charged_with_its_scoring(model):
    forest = Forest([Tree(Node(prompt, "prompt")) for prompt in ("1+1=", "1+" * 12 + "1=")])
    found = BestOfN(1, Sampling(max_tokens=2)).search(forest, LocalEngine(model), ValueScorer(model))
    short, long = (each.scored for each in found.ledgers)
    assert long > 2 * short > 0


def test_best_of_n_is_worth_more_to_the_value_model_than_one_sample(model):
    found = BestOfN(8, Sampling(max_tokens=10, seed=1)).search(problems(), LocalEngine(model), ValueScorer(model))
    for tree, answer in zip(found.forest, found.answers, strict=True):
        finished = [leaf for leaf in tree.leaves() if leaf.stop == "eos"] or tree.leaves()
        assert answer.value("value") == max(leaf.value("value") for leaf in finished)


def test_a_beam_runs_to_the_end_of_the_context_and_no_further(model):
    beam = StepBeam(2, 4, Sampling(max_tokens=40), max_steps=40)
    found = beam.search(problems(), LocalEngine(model), ValueScorer(model))
    paths = [4 + sum(len(node.token_ids) for node in leaf.path()[1:]) for leaf in found.forest.leaves()]
    assert max(paths) <= model.context_length
    assert all(answer is not None for answer in found.answers)
