"""Budgets: a search stops where its tokens, seconds or money end, answers from what stands, and says what was cut."""

from __future__ import annotations

import pytest

from espalier.engines.base import Sampling
from espalier.errors import ConfigError, EngineError
from espalier.search import (
    BestOfN,
    Budget,
    DiverseTreeSearch,
    Limits,
    MajorityVote,
    Sample,
    StepBeam,
    final_answer,
)
from espalier.trees import Ledger, Node, Prices

from .language import CharEngine, TextScorer, best_reachable, digits, last, problems, three_steps

LINES = Sampling(max_tokens=12)  # responses of `three_steps` have seven tokens


def test_samples_fill_a_trees_tokens_and_never_exceed_them() -> None:
    found = Sample(50, LINES).search(problems(4), CharEngine(three_steps), budget=Budget(tree=Limits(generated=40)))
    assert found.cut == [True] * 4
    for tree, ledger in zip(found.forest, found.ledgers, strict=True):
        whole = [leaf for leaf in tree.leaves() if leaf.stop == "eos"]
        assert len(whole) == 5  # of seven tokens each; asked for at their longest, only three would have fitted
        assert ledger.generated == sum(len(leaf.token_ids) for leaf in tree.leaves()) <= 40
        assert ledger.generated > 40 - 3  # what is left does not even hold a part of four tokens


def test_a_response_that_fits_what_is_left_is_not_cut() -> None:
    for tokens, cut in ((7, False), (6, True)):
        found = Sample(1, LINES).search(
            problems(2), CharEngine(three_steps), budget=Budget(tree=Limits(generated=tokens))
        )
        assert found.cut == [cut] * 2
        assert [each.generated for each in found.ledgers] == [tokens] * 2


def test_a_budget_that_does_not_bind_changes_nothing() -> None:
    free = Sample(5, LINES).search(problems(3), CharEngine(three_steps))
    rich = Sample(5, LINES).search(problems(3), CharEngine(three_steps), budget=Budget(tree=Limits(generated=60)))
    texts = [[leaf.text for tree in found.forest for leaf in tree.leaves()] for found in (free, rich)]
    assert texts[0] == texts[1]
    assert rich.cut == [False] * 3
    assert free.cut == []


def test_a_beam_that_runs_out_answers_from_what_stands() -> None:
    beam, engine = StepBeam(2, 3, Sampling(max_tokens=4), max_steps=9), CharEngine(three_steps)
    found = beam.search(problems(3), engine, TextScorer(best_reachable), Budget(tree=Limits(generated=30)))
    assert all(found.cut)
    assert all(each.generated <= 30 for each in found.ledgers)
    assert all(answer is not None for answer in found.answers)


def test_searches_that_repeat_spend_what_is_left() -> None:
    once, often = (
        DiverseTreeSearch(1, 2, Sampling(max_tokens=4), repeats=repeats).search(
            problems(3), CharEngine(three_steps), TextScorer(best_reachable), Budget(tree=Limits(generated=60))
        )
        for repeats in (1, 50)
    )
    assert once.cut == [False] * 3
    assert often.cut == [True] * 3
    assert all(each.generated < 30 for each in once.ledgers)
    assert all(56 < each.generated <= 60 for each in often.ledgers)


def test_a_limit_on_the_whole_is_shared_out_over_all_trees() -> None:
    vote = MajorityVote(40, Sampling(max_tokens=2), extract=last, batch=2)
    found = vote.search(problems(6), CharEngine(digits), budget=Budget(total=Limits(generated=120)))
    assert 108 <= found.ledger.generated <= 120
    assert all(each.generated == pytest.approx(20, abs=2) for each in found.ledgers)


def test_money_is_tokens_of_every_kind_at_their_price() -> None:
    prices = Prices(generated=1e6, prefilled=0.5e6, scored=0.1e6)
    budget = Budget(tree=Limits(money=30.0), prices=prices)
    found = BestOfN(50, Sampling(max_tokens=2)).search(problems(3), CharEngine(digits), TextScorer(float), budget)
    for answer, each in zip(found.answers, found.ledgers, strict=True):
        # This engine prefills the prompt's two tokens for every sample, which is known only afterwards.
        assert each == Ledger(generated=30, prefilled=30)
        assert each.money(prices) == 45.0
        assert answer is not None  # no money was left for the scorer, and still there is an answer
    assert found.cut == [True] * 3


def test_calls_and_seconds_end_a_search_too() -> None:
    beam, free = StepBeam(1, 4, Sampling(max_tokens=8)), CharEngine(three_steps)
    found = beam.search(problems(2), free, TextScorer(best_reachable), Budget(total=Limits(calls=4)))
    assert found.ledger.calls == 4  # two to the engine, two to the scorer; without a limit there are eight
    assert all(answer.depth == 2 for answer in found.answers)
    late = beam.search(problems(2), free, TextScorer(best_reachable), Budget(total=Limits(seconds=0)))
    assert late.answers == [None, None]
    assert late.ledger.generated == 0
    assert late.cut == [True, True]


def test_what_cannot_be_a_budget_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"share calls and seconds: limit those with Budget\(total"):
        Budget(tree=Limits(seconds=1.0))
    with pytest.raises(ConfigError, match="needs prices"):
        Budget(total=Limits(money=1.0))
    with pytest.raises(ConfigError, match="generated = -1"):
        Limits(generated=-1)


class Tools(CharEngine):
    """Each continuation is a chain: the policy asks, the tool answers, the policy goes on."""

    branches = 1

    def extend(self, prefixes: list[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        return [[self._chain() for _ in range(n)] for _ in prefixes]

    def _chain(self) -> Node:
        first = Node("2+2?", token_ids=[1, 2, 3, 4], stop="stop")
        for _ in range(self.branches):
            tool = first.add(Node("<4>", "tool", token_ids=[5, 6, 7]))
        tool.add(Node("4", token_ids=[8, 0], stop="eos"))
        return first


def test_a_continuation_may_be_a_chain_in_which_a_tool_speaks() -> None:
    found = MajorityVote(3, extract=final_answer).search(problems(2), Tools(digits))
    for tree, answer, ledger in zip(found.forest, found.answers, found.ledgers, strict=True):
        assert [node.author for node in answer.path()] == ["prompt", "policy", "tool", "policy"]
        assert len(tree.leaves()) == 3
        assert ledger.generated == 3 * 6  # what the tool said was not generated
    engine = Tools(digits)
    engine.branches = 2
    with pytest.raises(EngineError, match="expected a node or a chain"):
        Sample(1).search(problems(1), engine)
