"""The online loop for pairs: it learns, its reference does what it says, and a resume repeats the bits."""

from __future__ import annotations

import signal

import pytest
import torch

from espalier.errors import TrainingError
from espalier.exact import ExactScorer, Language, tokenizer
from espalier.models import Model, from_config, pack
from espalier.scorers import ReferenceLogProbs
from espalier.training import DPO, OnlineDPO, Training, train
from espalier.training.order import order
from espalier.training.recipe import Frozen
from espalier.training.reference import Follower
from espalier.trees import Forest, Node, Score, Tree, open_forest

LANGUAGE = Language("abc", length=4, prompts=("ab", "ac", "ba", "bc", "ca", "cb"))
CONFIG = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
SAMPLES = {"n": 4, "max_tokens": 4}


def model(seed: int = 0) -> Model:
    config = {**CONFIG, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return from_config(config, tokenizer(LANGUAGE), seed=seed)


def counting(good: str = "a", silent: tuple[str, ...] = ()) -> ExactScorer:
    """How often a string says `good`; all strings are alike under the silent prompts."""
    reward = torch.tensor([float(text.count(good)) for text in LANGUAGE.strings])
    rows = [torch.zeros_like(reward) if prompt in silent else reward for prompt in LANGUAGE.prompts]
    return ExactScorer(LANGUAGE, "count", torch.stack(rows))


def prompts(names: tuple[str, ...] = LANGUAGE.prompts) -> Forest:
    return Forest([Tree(Node(name, "prompt"), name) for name in names])


def stored() -> Forest:
    """Under every prompt a pair that says: c, and nothing else."""
    trees = []
    for tree in prompts():
        for text, better in (("cccc", 1.0), ("aaaa", 0.0)):
            tree.root.add(Node(text, "human", stop="length", scores={"preference": Score(better)}))
        trees.append(tree)
    return Forest(trees)


def settings(**given) -> Training:
    return Training(**{"steps": 10, "batch_size": 6, "lr": 1e-2, "warmup": 0.0, "schedule": "constant", **given})


def column(run, name):
    return [row[name] for row in run.metrics if name in row]


@pytest.mark.parametrize(
    "recipe",
    [
        OnlineDPO(beta=0.3, **SAMPLES),
        OnlineDPO(reference="average", rate=0.2, compare="all", **SAMPLES),
        OnlineDPO(loss="ipo", settings={"tau": 0.3}, reference="refresh", every=4, **SAMPLES),
        OnlineDPO(reference="none", beta=0.3, **SAMPLES),
        OnlineDPO(loss="simpo", beta=2.0, settings={"gamma": 0.5}, **SAMPLES),
    ],
    ids=["dpo", "average-all", "ipo-refresh", "none", "simpo"],
)
def test_the_reward_rises(recipe, tmp_path):
    run = train(recipe, model(), prompts(), settings(), out=tmp_path / "run", scorer=counting())
    reward = column(run, "reward")
    assert sum(reward[-3:]) / 3 > reward[0] + 0.5
    assert max(column(run, "parity")) < 1e-4
    assert ("kl" in run.metrics[0]) == recipe.needs_reference
    rolled = open_forest(tmp_path / "run" / "trees" / "step-10.parquet")
    assert len(list(rolled.leaves())) == 6 * 4


def test_a_resumed_run_has_the_bits_of_the_whole_one_and_of_its_moving_reference(tmp_path):
    recipe = OnlineDPO(reference="average", rate=0.3, offline=0.25, refills=1, **SAMPLES)
    training = settings(steps=5, checkpoint_every=2, lr=3e-2)

    def stop(done, total, metrics):
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    whole = train(recipe, model(), stored(), training, out=tmp_path / "whole", scorer=counting())
    broken = tmp_path / "broken"
    assert not train(recipe, model(), stored(), training, out=broken, scorer=counting(), progress=stop).finished
    resumed = train(recipe, model(), stored(), training, out=broken, scorer=counting(), resume=True)
    assert resumed.metrics == whole.metrics
    one, other = (dict(run.model.named_parameters()) for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    files = [run.folder / "checkpoints" / "step-5" / "reference.safetensors" for run in (whole, resumed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != (files[0].parent / "weights.safetensors").read_bytes()


def test_a_following_reference_goes_its_rate_of_the_way():
    policy = model()
    follower = Follower(policy, rate=0.25, every=2)
    start = {name: p.detach().clone() for name, p in policy.named_parameters()}
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1.0)
    follower.follow(1)  # not due
    assert all(torch.equal(p, start[name]) for name, p in follower.model.named_parameters())
    follower.follow(2)
    for name, parameter in follower.model.named_parameters():
        torch.testing.assert_close(parameter, start[name] + 0.25)
    with pytest.raises(TrainingError, match="another model"):
        follower.load({"x": torch.zeros(1)})


def test_a_refreshed_reference_is_the_policy_again_every_so_many_steps(tmp_path):
    recipe = OnlineDPO(reference="refresh", every=3, **SAMPLES)
    run = train(recipe, model(), prompts(), settings(steps=7), out=tmp_path / "run", scorer=counting())
    distance = column(run, "kl_pairs")
    assert [value < 1e-10 for value in distance] == [step % 3 == 0 for step in range(7)]
    assert column(run, "dpo")[3] == pytest.approx(0.693147, abs=1e-4)
    assert not (tmp_path / "run" / "reference.safetensors").exists()


def test_stored_pairs_can_be_learned_from_a_moving_reference_too(tmp_path):
    run = train(DPO(reference="refresh", every=2), model(), stored(), settings(steps=5), out=tmp_path / "run")
    assert [value < 1e-10 for value in column(run, "kl_pairs")] == [True, False, True, False, True]
    assert not (tmp_path / "run" / "trees").exists()


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_the_share_of_stored_pairs_is_kept_over_the_steps(share):
    recipe = OnlineDPO(offline=share, **SAMPLES)
    forest = recipe.select(Forest([*stored(), *prompts(("aa", "bb"))]))
    assert len(forest) == 8
    drawn = [recipe.draw(forest, 0, number, 4) for number in range(10)]
    assert all(len(trees) == 4 for trees in drawn)
    kept = [tree.prompt for trees in drawn for tree in trees if tree.root.children]
    assert len(kept) == round(40 * share)
    asked = [tree.prompt for trees in drawn for tree in trees if not tree.root.children]
    assert set(asked[:8]) == {tree.prompt for tree in forest}  # pass after pass, whatever the share


def test_stored_pairs_pull_where_they_point(tmp_path):
    recipe = OnlineDPO(offline=0.5, **SAMPLES)
    run = train(recipe, model(), stored(), settings(), out=tmp_path / "run", scorer=counting("c"))
    assert all(row["off_policy"] * row["pairs"] == 3 for row in run.metrics)
    assert column(run, "reward")[-1] > column(run, "reward")[0] + 0.5
    with pytest.raises(TrainingError, match="no prompt has two responses"):
        recipe.select(prompts())


def test_stored_log_probs_are_the_reference_of_stored_pairs_alone():
    start, recipe, forest = model(), OnlineDPO(stored="teacher", **SAMPLES), stored()
    judge = ReferenceLogProbs(model(seed=1), "teacher")
    judge.score(forest)
    sampled = Forest([tree.copy() for tree in forest])
    for node in sampled.nodes():
        node.streams = {}
    packed = pack([forest[0], sampled[1]])
    live = start(packed).logprobs.detach()
    found = recipe.reference_logprobs(packed, Frozen(start, lambda packed: live))
    mixed = torch.tensor([packed.trees[i] is forest[0] for i in packed.target_segment.tolist()])
    torch.testing.assert_close(found[~mixed], live[~mixed])
    torch.testing.assert_close(found[mixed], judge.model(packed).logprobs[mixed])


def test_a_run_whose_stored_pairs_lack_the_log_probs_is_refused(tmp_path):
    recipe = OnlineDPO(stored="teacher", offline=0.5, **SAMPLES)
    with pytest.raises(TrainingError, match="stream 'teacher' is not there"):
        train(recipe, model(), stored(), settings(), out=tmp_path / "run", scorer=counting())


def test_a_step_without_a_pair_is_counted_and_updates_nothing(tmp_path):
    start = model()
    before = [p.detach().clone() for p in start.parameters()]
    silent, recipe = counting(silent=LANGUAGE.prompts), OnlineDPO(reference="average", **SAMPLES)
    with pytest.warns(UserWarning, match="nothing was updated") as caught:
        run = train(recipe, start, prompts(), settings(), out=tmp_path / "run", scorer=silent)
    said = [str(warning.message) for warning in caught]
    assert any("on none of 6 prompts did two of 4 responses differ" in text for text in said)
    assert sum("skipped is 1.00, mean of 10 steps, above 0.5" in text for text in said) == 1
    assert run.finished
    assert column(run, "skipped") == [1.0] * 10
    assert not column(run, "loss")
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))


def test_prompts_without_a_pair_are_replaced_by_others(tmp_path):
    scorer = counting(silent=("ab", "ac", "ba"))
    found = {}
    for refills in (0, 4):
        recipe = OnlineDPO(refills=refills, n=6, max_tokens=4)
        run = train(recipe, model(), prompts(), settings(steps=2), out=tmp_path / str(refills), scorer=scorer)
        found[refills] = run.metrics[0]
    assert found[0]["pairs"] <= 3
    assert found[4]["pairs"] == 6
    assert 0.3 < found[4]["informative"] < 1


def test_a_least_margin_leaves_out_close_pairs(tmp_path):
    for margin, compare in ((0.0, "all"), (1.5, "all"), (1.5, "ends")):
        recipe = OnlineDPO(least_margin=margin, compare=compare, **SAMPLES)
        out = tmp_path / f"{margin}-{compare}"
        run = train(recipe, model(), prompts(), settings(steps=1), out=out, scorer=counting())
        rolled = open_forest(out / "trees" / "step-1.parquet")
        scores = [[leaf.value("reward") for leaf in tree.leaves()] for tree in rolled]
        gaps = [[abs(a - b) for i, a in enumerate(row) for b in row[:i]] for row in scores]
        wanted = sum(gap > margin for row in gaps for gap in row)
        if compare == "ends":
            wanted = sum(max(row) > margin for row in gaps)
        assert run.metrics[0]["pairs"] == wanted


def test_prompts_can_be_made_anew_at_every_step(tmp_path):
    asked = []

    def turned(trees, number):
        asked.append((number, len(trees), any(tree.root.children for tree in trees)))
        return [Tree(Node(tree.prompt[::-1], "prompt"), tree.id) for tree in trees]

    recipe = OnlineDPO(**SAMPLES)
    training = settings(steps=2, batch_size=2)
    run = train(recipe, model(), prompts(), training, out=tmp_path / "run", scorer=counting(), prompts=turned)
    assert asked == [(0, 2, False), (1, 2, False)]
    drawn = [LANGUAGE.prompts[i] for i in order(6, 0, 2, 2)]
    assert [tree.prompt for tree in open_forest(run.folder / "trees" / "step-2.parquet")] == [p[::-1] for p in drawn]
