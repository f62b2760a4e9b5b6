"""Every recipe: its gradient does not depend on how the step is cut, and it moves what it says it moves."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from espalier.engines.local import LocalEngine
from espalier.errors import ConfigError, TrainingError
from espalier.scorers import ReferenceLogProbs, ValueScorer
from espalier.training import (
    DPO,
    GRPO,
    OREO,
    PPO,
    SFT,
    BCoder,
    Critic,
    Implicit,
    Online,
    OnlineDPO,
    Process,
    Reward,
    Training,
    Value,
    train,
)
from espalier.training.loop import Loop, make_optimizer
from espalier.training.prepare import prepare, stored_logprobs
from espalier.training.reference import make_reference
from espalier.training.rollout import Actor
from espalier.trees import Forest, Node, Score, Tree
from espalier.worlds.arithmetic import ArithmeticVerifier


class Brevity:
    """A real scorer of five lines: short answers are good; every fifth cannot be judged."""

    name = "brevity"

    def __init__(self, every: int = 5) -> None:
        from espalier.trees import Ledger

        self.spent, self.every = Ledger(), every

    def score(self, forest: Forest) -> Forest:
        for i, leaf in enumerate(forest.leaves()):
            value = Score(-len(leaf.text) / 10) if (i + 1) % self.every else Score.absent("every fifth")
            leaf.scores.setdefault(self.name, value)
        return forest


OFFLINE = [SFT(), Reward(), Reward(by="label"), Value(), Value(loss="mse"), DPO()]
VALUES = [
    *(Value(loss=loss, bins=9) for loss in ("two_hot", "hl_gauss", "c51")),
    *(Process(label=label) for label in ("soft", "binary", "advantage")),
    *(Critic(), Implicit(beta=0.5), OREO(beta=0.5), BCoder(scale=0.5)),
    PPO(n=3, max_tokens=8, missing_limit=0.5, critic_lam=1.0, alpha=0.3),
]
ONLINE = [
    GRPO(n=3, max_tokens=8, missing_limit=0.5),
    GRPO(n=3, max_tokens=8, missing_limit=0.5, advantage="leave_one_out", per="response", beta=0.1),
    PPO(n=3, max_tokens=8, missing_limit=0.5, beta=0.1),
    OnlineDPO(n=3, max_tokens=8, missing_limit=0.5),
    OnlineDPO(n=3, max_tokens=8, missing_limit=0.5, compare="all", offline=0.5, reference="average"),
]


def gradient(recipe, model, forest, micro_tokens):
    """The gradient of one whole step, and the step's metrics."""
    training = Training(steps=1, batch_size=6, micro_tokens=micro_tokens, clip=1e9, lr=1e-9)
    selected = recipe.select(forest)
    if recipe.head:
        torch.manual_seed(0)
        model.add_head(recipe.head, link=recipe.link)
    initial = model.copy() if recipe.needs_reference else None
    online = isinstance(recipe, Online)
    selected = selected if online and not getattr(recipe, "offline", 0) else prepare(selected, model)
    if initial is not None:  # a reference that differs from the policy, so that every term has a gradient
        with torch.no_grad():
            torch.manual_seed(1)
            for parameter in initial.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    reference = make_reference(model, initial, training, recipe.temperature)
    if initial is not None and not online:
        ReferenceLogProbs(initial, "initial", tokens=micro_tokens, greedy=recipe.greedy).score(selected)
        reference = partial(stored_logprobs, name="initial")
    actor = Actor(LocalEngine(model), Brevity())
    optimizer, seen = make_optimizer(model, training), []
    optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    )
    metrics = Loop(recipe, model, selected, training, 1, optimizer, reference, actor).step(0)
    assert all(p.grad is None for p in model.parameters())  # none stay in memory between steps
    return seen[-1], metrics


@pytest.mark.parametrize(
    "recipe",
    OFFLINE + ONLINE + VALUES,
    ids=str,
)
def test_the_gradient_does_not_depend_on_how_the_step_is_cut(recipe, tiny, judged):
    whole, metrics = gradient(recipe, tiny(), judged, micro_tokens=100_000)
    for micro_tokens in (1, 100):
        cut, same = gradient(recipe, tiny(), judged, micro_tokens)
        assert whole.abs().max() > 1e-4
        torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)
        assert same == pytest.approx(metrics, abs=1e-5)


@pytest.mark.parametrize("recipe", [SFT(), DPO(), Value()], ids=lambda r: r.key)
def test_a_tree_that_a_step_draws_twice_counts_twice_however_it_is_packed(recipe, tiny, judged):
    few = judged[:4]  # of which a step takes six
    whole, _ = gradient(recipe, tiny(), few, micro_tokens=100_000)
    cut, _ = gradient(recipe, tiny(), few, micro_tokens=1)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)


def curve(run, name):
    values = [row[name] for row in run.metrics if name in row]
    return values[0], sum(values[-3:]) / 3


def settings(**given):
    return Training(**{"steps": 25, "batch_size": 12, "lr": 3e-3, "seed": 1, **given})


def test_sft_makes_the_demonstrations_likely(tiny, demonstrations, tmp_path):
    first, last = curve(train(SFT(), tiny(), demonstrations, settings(lr=1e-2), out=tmp_path / "run"), "nll")
    assert last < 0.6 * first


def test_sft_with_best_learns_only_what_scored_well(tiny, judged, tmp_path):
    alone = judged.filter(lambda tree: True)
    run = train(SFT(best="label"), tiny(), alone, settings(steps=1, batch_size=24), out=tmp_path / "a")
    only = Forest(
        [tree.copy(keep=lambda n: n.value("label") != 0.0 and not n.text.startswith("#1")) for tree in judged]
    )
    other = train(SFT(), tiny(), only, settings(steps=1, batch_size=24), out=tmp_path / "b")
    assert run.metrics[0]["nll"] == pytest.approx(other.metrics[0]["nll"], abs=1e-5)


@pytest.mark.parametrize("recipe", [Reward(by="label"), DPO(beta=0.5)], ids=["reward", "dpo"])
def test_preference_recipes_put_the_chosen_above_the_rejected(recipe, tiny, judged, tmp_path):
    run = train(recipe, tiny(), judged, settings(), out=tmp_path / "run")
    assert curve(run, "pair_accuracy")[1] > 0.9
    assert curve(run, "margin")[1] > 0.3


def test_dpo_starts_at_log_2_because_policy_and_reference_agree(tiny, judged, tmp_path):
    run = train(DPO(), tiny(), judged, settings(steps=1), out=tmp_path / "run")
    assert run.metrics[0]["dpo"] == pytest.approx(0.693147, abs=1e-5)


NAMED = [
    {"loss": "ipo", "settings": {"tau": 0.1}},
    {"loss": "simpo", "beta": 2.0, "settings": {"gamma": 0.5}},
    {"loss": "orpo", "settings": {"weight": 0.1}},
    {"loss": "ln_dpo"},
    {"loss": "rpo", "settings": {"eta": 0.1}},
]


@pytest.mark.parametrize("named", NAMED, ids=lambda named: named["loss"])
def test_a_preference_loss_by_name_trains_and_does_not_depend_on_the_cut(named, tiny, judged, tmp_path):
    whole, _ = gradient(DPO(**named), tiny(), judged, micro_tokens=100_000)
    cut, _ = gradient(DPO(**named), tiny(), judged, micro_tokens=40)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-4)
    run = train(DPO(**named), tiny(), judged, settings(steps=8), out=tmp_path / "run")
    assert run.metrics[-1]["dpo"] < run.metrics[0]["dpo"]
    assert (tmp_path / "run" / "trees" / "reference.parquet").exists() == DPO(**named).needs_reference


@pytest.mark.parametrize("wrong", [{"loss": "dop"}, {"loss": "simpo"}, {"settings": {"gamma": 1.0}}], ids=str)
def test_an_unknown_loss_or_setting_is_refused_before_training(wrong):
    with pytest.raises(ConfigError, match=r"dop|gamma"):
        DPO(**wrong)


def test_dpo_on_an_adapter_uses_the_switched_off_adapter_as_reference(tiny, judged, tmp_path):
    model = tiny()
    model.add_lora(rank=4)
    before = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    run = train(DPO(beta=0.5), model, judged, settings(lr=1e-2), out=tmp_path / "run")
    assert run.metrics[0]["dpo"] == pytest.approx(0.693147, abs=1e-5)
    assert curve(run, "margin")[1] > 0.3
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)
    assert not (tmp_path / "run" / "reference.safetensors").exists()


def test_the_value_model_learns_which_endings_succeed(tiny, judged, tmp_path):
    run = train(Value(), tiny(), judged, settings(steps=40, lr=1e-2), out=tmp_path / "run")
    forest = ValueScorer(run.model).score(Forest([tree.copy() for tree in judged]))
    bad = [tree.leaves()[-1].value("value") for tree in forest]  # "#1" is wrong wherever it is labelled
    shared = [tree.root.children[0].value("value") for tree in forest]  # leads to a right and a wrong ending
    assert max(bad) < 0.2
    assert 0.4 < sum(shared) / len(shared) < 0.6


@pytest.mark.parametrize(
    "recipe", [GRPO(n=6, max_tokens=12), PPO(n=6, max_tokens=12, passes=2, updates=2)], ids=["grpo", "ppo"]
)
def test_policy_recipes_raise_the_reward(recipe, tiny, problems, tmp_path):
    training = settings(steps=15, lr=5e-3, warmup=0.0)
    run = train(recipe, tiny(), problems, training, out=tmp_path / "run", scorer=Brevity(every=10**9))
    first, last = curve(run, "reward")
    assert last > first + 0.3
    assert max(row["parity"] for row in run.metrics) < 1e-4
    from espalier.trees import open_forest

    rolled = open_forest(tmp_path / "run" / "trees" / "step-15.parquet")
    assert len(rolled) == 12
    assert all(leaf.value("reward") is not None for leaf in rolled.leaves())


def test_too_many_missing_rewards_stop_the_run(tiny, problems, tmp_path):
    with pytest.raises(TrainingError, match="missing"):
        train(GRPO(n=2, max_tokens=4), tiny(), problems, settings(), out=tmp_path / "run", scorer=Brevity(every=2))


def test_a_sampler_that_disagrees_with_the_trainer_is_refused(tiny, problems, tmp_path):
    other = LocalEngine(tiny(seed=1))
    with pytest.raises(TrainingError, match="sampler and trainer disagree"):
        train(
            GRPO(n=2, max_tokens=4), tiny(), problems, settings(), out=tmp_path / "r", scorer=Brevity(99), engine=other
        )


def test_an_online_recipe_works_with_an_exact_verifier(tiny, problems, tmp_path):
    recipe = GRPO(n=2, max_tokens=6)
    run = train(recipe, tiny(), problems, settings(steps=2), out=tmp_path / "run", scorer=ArithmeticVerifier())
    assert {"reward", "missing", "kl", "policy"} - set(run.metrics[0]) == {"kl"}


def test_nothing_to_learn_from_is_an_error_that_says_what_was_looked_for(tiny, problems, tmp_path):
    for recipe, message in ((SFT(), "with a response"), (DPO(), "'preference'"), (Value(by="won"), "'won'")):
        with pytest.raises(TrainingError, match=message):
            train(recipe, tiny(), problems, settings(), out=tmp_path / "run")
    tree = Tree(Node("1+1=\n", "prompt"))
    tree.root.add(Node("#2", "human", stop="eos", scores={"label": Score(7.0)}))
    with pytest.raises(TrainingError, match=r"outside \[0, 1\]"):
        train(Value(), tiny(), Forest([tree]), settings(), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("recipe", "metric", "within"),
    # largest relative difference, measured on 20 steps: SFT 4e-4, DPO 3e-3; GRPO samples, so a token may flip
    [(SFT(), "nll", 2e-3), (DPO(beta=0.5), "dpo", 1e-2), (GRPO(n=4, max_tokens=10), "reward", 0.1)],
    ids=["sft", "dpo", "grpo"],
)
def test_the_curve_in_bf16_is_that_in_fp32(recipe, metric, within, tiny, judged, tmp_path):
    curves = {}
    for precision in ("fp32", "bf16"):
        training = settings(steps=20, batch_size=8, precision=precision)
        data = Forest([tree.copy() for tree in judged])
        run = train(recipe, tiny(), data, training, out=tmp_path / precision, scorer=Brevity(every=10**9))
        curves[precision] = [row[metric] for row in run.metrics]
        assert all(row.get("parity", 0.0) < getattr(recipe, "parity_limit", 1.0) / 4 for row in run.metrics)
    assert curves["bf16"] == pytest.approx(curves["fp32"], rel=within)
    if metric != "reward":
        assert curves["bf16"] != curves["fp32"]
