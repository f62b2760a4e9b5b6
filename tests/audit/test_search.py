"""Strategies at equal budgets: the picks are paired, and a right answer has its price."""

from __future__ import annotations

import json

import numpy as np
import pytest

from espalier.audit import compare_strategies, cost_of_pass, likelihood_utility
from espalier.engines.base import Sampling
from espalier.errors import AuditError
from espalier.exact import Language, Tabular
from espalier.exact.engine import ExactEngine
from espalier.scorers import Verifier
from espalier.search import BestOfN, Greedy, MajorityVote
from espalier.trees import Forest, Node, Prices, Score, Tree

LANGUAGE = Language("ab", 3)


class Many(Verifier):
    """How many letters a response has of one kind."""

    letter = "a"

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(node.response().count(self.letter)))


class Right(Verifier):
    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(node.response().count("a") >= 2))


def problems(n: int) -> Forest:
    return Forest([Tree(Node("ab", "prompt"), id=str(i)) for i in range(n)])


def test_the_better_strategy_is_picked_and_what_cannot_be_told_from_it_is_named():
    sampling = Sampling(max_tokens=3)
    found = compare_strategies(
        {
            "best": lambda tokens: BestOfN(tokens // 3, sampling, "many", batch=8),
            "same": lambda tokens: BestOfN(tokens // 3, sampling, "many", batch=8),
            "vote": lambda tokens: MajorityVote(tokens // 3, sampling, extract=str, batch=8),
        },
        [6, 18],
        problems(60),
        lambda: ExactEngine(Tabular(LANGUAGE)),
        Many("many"),
        Right("right"),
        prices=Prices(generated=1e6),
    )
    assert [(pick.budget, pick.strategy) for pick in found.picks] == [(6, "best"), (18, "best")]
    assert found.picks[1].ties == ["same"]
    assert found.picks[1].against["vote"].difference.high < 0
    assert "not told apart from it: same" in str(found.picks[1])
    by_name = {(point.strategy, point.budget): point for point in found.points}
    assert all(point.generated <= point.budget for point in found.points)
    best = by_name["best", 18]
    assert best.accuracy.estimate > by_name["best", 6].accuracy.estimate
    assert best.cost_of_pass.estimate == pytest.approx(best.money / best.accuracy.estimate)
    assert json.loads(json.dumps(found.to_dict()))["picks"][0]["strategy"] == "best"
    assert found.found["best", 18].forest[0].id == "0"


def test_a_right_answer_costs_the_mean_cost_over_the_accuracy():
    rng = np.random.default_rng(0)
    costs, right = rng.uniform(5, 15, 200), (rng.random(200) < 0.4).astype(float)
    found = cost_of_pass(costs.tolist(), right.tolist())
    assert found.estimate == pytest.approx(costs.mean() / right.mean())
    assert found.low < 10 / 0.4 < found.high
    assert cost_of_pass([3.0, 3.0, 9.0], [1, 0, None]).estimate == 6.0
    assert cost_of_pass([1.0, 1.0], [0, 0]).estimate == np.inf


def test_nothing_to_compare_is_an_error():
    with pytest.raises(AuditError, match="at least one strategy and one budget"):
        compare_strategies({}, [5], problems(2), lambda: None, None, Right("right"))
    greedy = {"greedy": lambda tokens: Greedy(3)}
    with pytest.raises(AuditError, match="no answer has the score 'other'"):
        compare_strategies(
            greedy, [5], problems(2), lambda: ExactEngine(Tabular(LANGUAGE)), None, Right("right"), by="other"
        )


def sampled(sign: float) -> Forest:
    """Responses whose score grows (or falls) with their likelihood, but for one problem that tells nothing."""
    forest = problems(12)
    for i, tree in enumerate(forest):
        for k in range(4):
            score = Score(1.0 if i == 0 else sign * k)
            tree.root.add(Node("a", token_ids=[0, 0], logprobs=[-1.0, k - 9.0], stop="eos", scores={"right": score}))
    return forest


def test_the_diagnostic_says_whether_likelihood_knows_what_is_good():
    assert likelihood_utility(sampled(1.0), "right").estimate == pytest.approx(1)
    against = likelihood_utility(sampled(-1.0), "right", per_token=True)
    assert (against.estimate, against.n, against.missing) == (pytest.approx(-1), 11, 1)
    with pytest.raises(AuditError, match="found 0 of 12"):
        likelihood_utility(sampled(0.0), "right")
