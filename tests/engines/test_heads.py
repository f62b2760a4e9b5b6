"""Heads that are read in the pass that samples, beside a scorer's own pass."""

from __future__ import annotations

import pytest
import torch

from espalier.engines import LocalEngine, Sampling
from espalier.errors import ModelError
from espalier.losses import Support
from espalier.models import Model
from espalier.models.heads import Link
from espalier.scorers import ValueScorer
from espalier.search import StepBeam
from espalier.trees import Forest, Tree

from .conftest import prompts, watch

TEXTS = ("12+3=", "34 + 12 * 46", "7")


def add_value(model: Model, link: Link) -> None:
    model.add_head("value", link=link)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.heads["value"].parameters():
            weight.normal_()


@pytest.mark.parametrize("link", ["probability", "real", Support(-1, 2, 7)])
def test_values_are_those_of_the_value_scorer(model: Model, link: Link) -> None:
    add_value(model, link)
    roots = prompts(*TEXTS)
    for root, nodes in zip(
        roots,
        LocalEngine(model, heads=("value",), batch_size=5).extend(roots, 4, Sampling(max_tokens=9, stop=("=",))),
        strict=True,
    ):
        for node in nodes:
            root.add(node)
    found = {node: node.value("value") for root in roots for node in root.children}
    assert len({len(node.token_ids or []) for node in found}) > 2
    for node in found:
        del node.scores["value"]
    ValueScorer(model).score(Forest([Tree(root) for root in roots]))
    for node, value in found.items():
        assert value == pytest.approx(node.value("value"), abs=1e-5)


def test_reading_heads_changes_no_sample_and_runs_every_token_once(qwen: Model) -> None:
    add_value(qwen, "probability")
    sampling = Sampling(max_tokens=9, seed=4, stop=("=",))
    plain = LocalEngine(qwen).extend(prompts(*TEXTS), 5, sampling)
    passes, engine = watch(qwen), LocalEngine(qwen, heads=("value",), batch_size=4)
    read = engine.extend(prompts(*TEXTS), 5, sampling)
    assert [[n.token_ids for n in nodes] for nodes in read] == [[n.token_ids for n in nodes] for nodes in plain]
    assert passes.tokens == engine.spent.prefilled + engine.spent.generated
    # The last token of a step was run for its value, so going on from it runs no prefix.
    (roots, before) = prompts(TEXTS[0]), engine.spent.prefilled
    step = next(node for node in read[0] if node.stop != "eos")
    roots[0].add(step)
    engine.extend([step], 3, sampling)
    assert engine.spent.prefilled == before


def test_a_search_with_such_an_engine_needs_no_second_pass(qwen: Model) -> None:
    add_value(qwen, "probability")
    beam = StepBeam(2, 3, Sampling(max_tokens=8), stop="=", max_steps=4)
    results = []
    for heads in ((), ("value",)):
        forest = Forest([Tree(root) for root in prompts(*TEXTS)])
        engine, scorer = LocalEngine(qwen, heads=heads), ValueScorer(qwen)
        found = beam.search(forest, engine, scorer)
        results.append([leaf and leaf.full_text() for leaf in found.answers])
        assert bool(scorer.spent.scored) != bool(heads)
    assert results[0] == results[1]


def test_a_head_that_is_not_finite_gives_a_missing_score_and_one_that_is_not_there_an_error(qwen: Model) -> None:
    with pytest.raises(ModelError, match="no value head"):
        LocalEngine(qwen, heads=("value",))
    add_value(qwen, "real")
    with torch.no_grad():
        next(qwen.heads["value"].parameters()).fill_(torch.nan)
    (node,) = LocalEngine(qwen, heads=("value",)).extend(prompts("7"), 1, Sampling(max_tokens=2))[0]
    assert node.value("value") is None
    assert "nan" in (node.scores["value"].missing or "")
