"""What the recipes of value and process models learn, and from which tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForTokenClassification

from espalier.errors import TrainingError
from espalier.losses import two_hot
from espalier.models import encode, load, pack
from espalier.scorers import ValueScorer
from espalier.training import OREO, PPO, BCoder, Critic, Process, Training, Value, train
from espalier.training.prepare import prepare
from espalier.training.recipe import Frozen
from espalier.trees import Forest, Node, Score, Tree
from espalier.worlds.arithmetic import ArithmeticStepVerifier


def settings(**given):
    return Training(**{"steps": 30, "batch_size": 12, "lr": 1e-2, "seed": 1, **given})


def means(values, labels):
    """The means over what is labelled 1 and 0."""
    sides = [[value for value, of in zip(values, labels, strict=True) if of == label] for label in (1.0, 0.0)]
    return [sum(side) / len(side) for side in sides]


@pytest.fixture
def labelled(judged):
    """Every step labelled by the exact step checker."""
    bare = Forest([tree.copy() for tree in judged])
    for node in bare.nodes():
        node.scores.clear()
    return ArithmeticStepVerifier("label").score(bare)


@pytest.mark.parametrize("label", ["soft", "advantage"])
def test_a_process_model_tells_right_steps_from_wrong_ones_and_is_a_token_classifier(label, tiny, labelled, tmp_path):
    run = train(Process(label=label), tiny(), labelled, settings(), out=tmp_path / "run")
    ValueScorer(run.model, "process").score(labelled)
    steps = [node for node in labelled.nodes() if node.parent]
    right, wrong = means([node.value("process") for node in steps], [node.value("label") for node in steps])
    assert right > wrong + 0.3
    assert AutoModelForTokenClassification.from_pretrained(tmp_path / "run" / "model").config.num_labels == 1
    ValueScorer(load(tmp_path / "run" / "model"), "again").score(labelled)
    for node in steps:
        assert node.value("again") == pytest.approx(node.value("process"), abs=1e-5)


def test_a_step_is_learned_at_its_last_token_once_however_many_responses_share_it(tiny, labelled):
    model, recipe = tiny(), Process()
    packed = pack(prepare(recipe.select(labelled), model)[:2])
    batch = recipe.batch(packed, Frozen(lambda *_, **__: None, lambda *_: None))
    steps = batch.streams["steps"].tolist()
    assert [packed.nodes[i].value("label") for i in steps] == batch.streams["labels"].tolist()
    assert len(set(steps)) == len(steps) == sum(node.parent is not None for node in packed.nodes)


def test_binary_labels_ask_whether_any_completion_succeeded():
    root = Node("p", "prompt", scores={"label": Score(1.0)})
    nodes = [root.add(Node("a", scores={"label": Score(value)})) for value in (0.0, 0.125, 1.0)]
    assert [Process(label="binary")._label(node) for node in [root, *nodes]] == [None, 0.0, 1.0, 1.0]


def test_c51_learns_the_outcome_at_the_end_and_its_own_next_forecast_before(tiny):
    model, recipe = tiny(), Value(loss="c51", bins=9)
    model.add_head("value", link=recipe.link)
    torch.nn.init.normal_(model.heads["value"].weight)
    root = Node("1+1=\n", "prompt")
    root.add(Node("#2", "human", stop="eos", scores={"label": Score(1.0)}))
    packed = pack(prepare(Forest([Tree(root)]), model))
    frozen = Frozen(lambda packed, **wanted: model(packed, **wanted), lambda _: torch.zeros(0))
    with torch.no_grad():
        goal = recipe.batch(packed, frozen).streams["outcome"]
        forecasts = model(packed, logprobs=False, heads=("value",)).heads["value"][packed.targets].softmax(-1)
    torch.testing.assert_close(goal[:-1], forecasts[1:])
    torch.testing.assert_close(goal[-1], two_hot(torch.ones(()), recipe.link))


def test_a_categorical_value_model_learns_and_loads_again(tiny, judged, tmp_path):
    run = train(Value(loss="hl_gauss", bins=15), tiny(), judged, settings(steps=100), out=tmp_path / "run")
    losses = [row["value_ce"] for row in run.metrics]
    assert losses[-1] < losses[0] - 0.5
    again = load(tmp_path / "run" / "model")
    assert again.link("value") == run.model.link("value")
    leaves = list(ValueScorer(again).score(judged).leaves())
    solved, guessed = means([leaf.value("value") for leaf in leaves], [float(leaf.text != "#1") for leaf in leaves])
    assert solved > guessed + 0.2  # half of the first are right, none of the second


def test_outcomes_outside_the_bins_and_a_head_of_another_kind_are_refused(tiny, judged, tmp_path):
    with pytest.raises(TrainingError, match=r"set recipe\.low and recipe\.high, which are 0 and 0\.5"):
        Value(loss="two_hot", high=0.5).select(judged)
    model = tiny()
    model.add_head("value", link="real")
    with pytest.raises(TrainingError, match=r"value head is 'real', recipe\.loss=bce needs"):
        train(Value(), model, judged, settings(steps=1), out=tmp_path / "run")


def test_value_pretraining_leaves_the_policy_as_it_is_and_gives_ppo_a_critic(tiny, judged, tmp_path):
    model = tiny()
    before = [parameter.detach().clone() for parameter in model.hf.parameters()]
    run = train(Critic(), model, judged, settings(), out=tmp_path / "run")
    assert all(torch.equal(old, new) for old, new in zip(before, model.hf.parameters(), strict=True))
    losses = [row["value_mse"] for row in run.metrics]
    assert losses[-1] < 0.8 * losses[0]
    assert load(tmp_path / "run" / "model").link("value") == PPO().link


def test_oreo_raises_what_was_right_and_saves_its_value_head_with_the_policy(tiny, judged, tmp_path):
    model = tiny()
    encode(judged, model.tokenizer)
    packed = pack(judged)
    labels = [packed.nodes[i].value("label") for i in packed.leaves.tolist()]
    with torch.no_grad():
        before = packed.leaf_sums(model(packed).logprobs)
    run = train(OREO(beta=0.1), model, judged, settings(lr=3e-3, steps=40), out=tmp_path / "run")
    with torch.no_grad():
        gained = packed.leaf_sums(run.model(packed).logprobs) - before
    right, wrong = means(gained.tolist(), labels)
    assert right > wrong + 1
    assert "value" in load(tmp_path / "run" / "model").heads


def test_b_coder_backs_up_the_q_of_the_pretrained_models_next_token_and_at_the_end_the_outcome(tiny):
    model, recipe = tiny(), BCoder(scale=0.5, gamma=0.9)
    model.add_head("value", link="real")
    torch.nn.init.normal_(model.heads["value"].weight)
    root = Node("1+1=\n", "prompt")
    root.add(Node("#2", "human", stop="eos", scores={"label": Score(1.0)}))
    packed = pack(prepare(Forest([Tree(root)]), model))
    pretrained = torch.arange(len(packed.targets)) + 3
    with torch.no_grad():
        frozen = Frozen(lambda packed, **wanted: model(packed, **wanted), lambda _: pretrained.float())
        batch = recipe.batch(packed, frozen)
        outputs = model(packed, heads=("value",), top=model.hf.config.vocab_size)
    logprobs, ids = outputs.top
    q = outputs.value("value")[packed.predictors] + 0.5 * (logprobs[ids == pretrained[:, None]] - logprobs[:, 0])
    torch.testing.assert_close(batch.streams["targets"], torch.cat([0.9 * q[1:], torch.ones(1)]))


def test_b_coder_learns_outcomes_as_q_and_raises_what_was_right(tiny, judged, tmp_path):
    model, recipe = tiny(), BCoder(scale=0.2)
    encode(judged, model.tokenizer)
    packed = pack(judged)
    labels = [packed.nodes[i].value("label") for i in packed.leaves.tolist()]
    with torch.no_grad():
        before = packed.leaf_sums(model(packed).logprobs)
    run = train(recipe, model, judged, settings(steps=60), out=tmp_path / "run")
    with torch.no_grad():
        outputs = run.model(packed, heads=("value",), top=1)
    right, wrong = means((packed.leaf_sums(outputs.logprobs) - before).tolist(), labels)
    assert right > wrong + 1
    q, values = recipe.q(outputs, packed)
    assert (q <= values + 1e-6).all()
    ends = torch.searchsorted(packed.targets, packed.last[packed.leaves])
    right, wrong = means(q[ends].tolist(), labels)
    assert right > wrong + 0.3
    assert "value" in load(tmp_path / "run" / "model").heads
