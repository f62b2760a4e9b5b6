from __future__ import annotations

import pytest

from espalier.audit import accuracy, outcomes
from espalier.search.base import Found
from espalier.trees import Forest, Ledger, Node, Tree

from .forests import correct, forest_of, respond


def found(forest: Forest, choices: list[int | None]) -> Found:
    answers = [None if i is None else tree.leaves()[i] for tree, i in zip(forest, choices, strict=True)]
    return Found(forest, answers, Ledger(), [Ledger()] * len(forest))


def test_a_forest_counts_each_problem_once() -> None:
    forest = forest_of([correct(1, 1, 0, 0), correct(1), correct(0, 0)])
    assert outcomes(forest) == {"p0": 0.5, "p1": 1.0, "p2": 0.0}
    assert accuracy(forest).estimate == pytest.approx(0.5)


def test_missing_is_left_out_not_counted_as_wrong() -> None:
    forest = forest_of([correct(1, "timed out"), correct("timed out"), correct(0)])
    assert outcomes(forest) == {"p0": 1.0, "p1": None, "p2": 0.0}
    assert (accuracy(forest).estimate, accuracy(forest).n, accuracy(forest).missing) == (0.5, 2, 1)


def test_a_search_is_judged_by_its_chosen_leaf_and_no_answer_is_wrong() -> None:
    forest = forest_of([correct(0, 1), correct(1, 0), correct("crashed", 1)])
    assert outcomes(found(forest, [1, None, 0])) == {"p0": 1.0, "p1": 0.0, "p2": None}


def test_branches_that_only_pause_are_not_answers() -> None:
    forest = forest_of([correct(1)])
    respond(forest[0], "a step\n", {}, stop="stop")
    assert outcomes(forest) == {"p0": 1.0}


def test_a_forest_that_nobody_verified_is_refused() -> None:
    with pytest.raises(ValueError, match="no answer has the score 'correct'; score the forest"):
        accuracy(forest_of([[("answer", {})]]))


def test_problems_that_share_an_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two problems have the id ''"):
        accuracy(Forest([Tree(Node("a", "prompt")), Tree(Node("b", "prompt"))]))
