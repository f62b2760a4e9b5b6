"""What a preference run reports of its pairs is what it says, and a displacement is warned of once."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from espalier.models import pack
from espalier.training import DPO, Training, train
from espalier.training.diagnostics import label_agreement, of_pairs, unseen
from espalier.training.metrics import METRICS, Watch
from espalier.training.prepare import prepare
from espalier.trees import Forest, Node, Score, Tree


def settings(**given):
    return Training(**{"steps": 4, "batch_size": 4, "lr": 3e-3, "seed": 1, **given})


def test_the_numbers_of_a_step_are_those_of_its_pairs_worked_out_one_by_one(tiny, judged, tmp_path):
    data = Forest([tree.copy() for tree in judged[:4]])
    run = train(DPO(agreement=0.7), tiny(), data, settings(steps=2, warmup=0.0), out=tmp_path / "run")
    row, start = run.metrics[0], tiny()
    trees = prepare(DPO().select(judged[:4]), start)
    sums = {"chosen": 0.0, "rejected": 0.0, "best": 0.0}
    right = bounded = 0
    for tree in trees:
        packed = pack([tree])
        outputs = start(packed, top=1)
        good, bad, *_ = packed.leaf_sums(outputs.logprobs).tolist()
        tokens = packed.leaf_sums(torch.ones_like(outputs.logprobs))
        sums["chosen"] += good / tokens[0].item() / 4
        sums["rejected"] += bad / tokens[1].item() / 4
        sums["best"] += packed.leaf_sums(outputs.top[0][:, 0])[0].item() / tokens[0].item() / 4
        right += good > bad
        bounded += good - bad + math.log(0.7 / 0.3) / 0.1 > 0
    assert row["chosen_mean_logprob"] == pytest.approx(sums["chosen"], abs=1e-5)
    assert row["rejected_mean_logprob"] == pytest.approx(sums["rejected"], abs=1e-5)
    assert row["argmax_mean_logprob"] == pytest.approx(sums["best"], abs=1e-5)
    assert row["ranking_accuracy"] == right / 4
    assert row["ranking_bound"] == bounded / 4
    assert row["chosen_length"] == sum(sum(len(n.token_ids) for n in t.leaves()[0].path()[1:]) for t in trees) / 4
    assert row["displaced"] == row["kl_pairs"] == 0.0  # policy and reference are one
    assert run.metrics[1]["kl_pairs"] > 0


def test_the_unseen_response_is_the_next_prompts_under_this_prompt(tiny, judged):
    model = tiny()
    trees = list(prepare(DPO().select(judged), model))[:9]
    strange = unseen(trees, "preference", 0.0)
    assert [tree.prompt for tree in strange] == [trees[0].prompt, trees[8].prompt]
    assert strange[0].leaves()[0].response() == trees[1].leaves()[0].response()
    assert strange[1].leaves()[0].response() == trees[0].leaves()[0].response()
    assert strange[0].leaves()[0].token_ids == trees[1].leaves()[0].token_ids
    assert unseen(trees[:1], "preference", 0.0) == []  # a prompt's own response is not unseen
    assert not any(node.scores for tree in strange for node in tree.walk())


def test_a_pair_is_displaced_only_where_its_chosen_response_fell_by_more_than_rounding():
    sides = {
        "logratio": ([-2.0, -0.05, 1.0, -3.0], [-5.0, -5.0, 0.0, -1.0]),
        "logprob": ([-9.0] * 4, [-8.0] * 4),
        "tokens": ([2.0] * 4, [4.0] * 4),
        "best": ([-1.0] * 4, [-1.0] * 4),
        "squares": ([4.0] * 4, [8.0] * 4),
    }
    found = {
        f"{side}_{k}": torch.tensor(v[i]) for k, v in sides.items() for i, side in enumerate(("chosen", "rejected"))
    }
    terms = of_pairs(found, torch.ones(4), 0.1)
    assert terms["displaced"].values.tolist() == [1.0, 0.0, 0.0, 0.0]  # the last is not in order
    assert terms["kl_pairs"].values.tolist() == [1.0] * 4
    assert terms["chosen_mean_logprob"].values.tolist() == [-4.5] * 4
    assert all(term.scale == 0 for term in terms.values())
    assert "ranking_bound" not in of_pairs(found, torch.ones(4), None)


def test_shares_of_raters_are_read_from_labels_that_are_shares():
    def node(value: float) -> Node:
        return Node("x", scores={"preference": Score(value)})

    chosen, rejected = [node(0.7), node(1.0), node(3.0)], [node(0.3), node(0.0), node(-2.0)]
    assert label_agreement(chosen, rejected, "preference").tolist() == pytest.approx([0.7, 1.0, 1.0])


def likely_and_unlikely(chosen: str, rejected: str) -> Forest:
    trees = [Tree(Node(f"{i}+1=\n", "prompt")) for i in range(8)]
    for tree in trees:
        for text, value in ((chosen, 1.0), (rejected, 0.0)):
            tree.root.add(Node(text, "human", stop="eos", scores={"preference": Score(value)}))
    return Forest(trees)


@pytest.mark.parametrize(("beta", "bound"), [(1.0, 0.0), (1e-3, 1.0)])
def test_the_bound_is_low_where_the_reference_is_wrong_and_the_raters_opinion_cannot_outweigh_it(
    beta, bound, tiny, tmp_path
):
    data = likely_and_unlikely("11111111", "2")  # to a fresh model the longer one is less likely
    run = train(DPO(beta=beta, agreement=0.6), tiny(), data, settings(steps=1), out=tmp_path / "run")
    assert run.metrics[0]["ranking_accuracy"] == 0
    assert run.metrics[0]["ranking_bound"] == bound


def test_displacement_is_warned_of_once(tiny, tmp_path):
    """The rejected response counts three times, and shares nearly all its tokens with the chosen one."""
    data = likely_and_unlikely("1111111111#2", "1111111111#3")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training = settings(steps=16, lr=1e-2, warmup=0.0, batch_size=8)
        recipe = DPO(loss="dpo_shift", beta=0.5, settings={"shift": 3.0})
        run = train(recipe, tiny(), data, training, out=tmp_path / "run")
    assert sum(row["displaced"] for row in run.metrics[-10:]) > 5
    assert sum("displaced" in str(warning.message) for warning in caught) == 1


def test_an_alarm_is_raised_once_by_a_mean_and_not_by_one_odd_row():
    watch = Watch([{"step": step, "displaced": 0.0} for step in range(9)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.see({"step": 9, "displaced": 1.0})
        watch.see({"step": 10, "loss": 1.0})
        for step in range(11, 15):
            watch.see({"step": step, "displaced": 1.0})
    with pytest.warns(UserWarning, match=r"step 15: displaced is 0.60, mean of 10 steps, above 0.5: likelihood"):
        watch.see({"step": 15, "displaced": 1.0})
    assert watch.passed == {"displaced": (15, pytest.approx(0.6))}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed = Watch([{"step": step, "displaced": 1.0} for step in range(12)])
        resumed.see({"step": 12, "displaced": 1.0})
    assert METRICS["displaced"].alarm == 0.5
