"""ProcessBench's F1, by hand and with its interval."""

from __future__ import annotations

import pytest

from espalier.audit.first_error import best_threshold, f1_gain, first_errors
from espalier.errors import AuditError
from espalier.trees import Forest, Node, Score, Tree


def response(truth: list[float], scores: list[float | None]) -> Tree:
    tree = Tree(Node("p", "prompt"))
    at = tree.root
    for true, score in zip(truth, scores, strict=True):
        at = at.add(Node("s"))
        at.scores["step"] = Score(true)
        at.scores["model"] = Score.absent("crashed") if score is None else Score(score)
    return tree


FOUND = response([1, 0, 0], [0.9, 0.3, 0.1])
TOO_LATE = response([1, 0, 0], [0.9, 0.8, 0.1])
UNSEEN = response([0, 0], [0.9, 0.7])
CLEAN = response([1, 1], [0.6, 0.7])
SUSPECTED = response([1, 1], [0.9, 0.4])


def test_f1_is_the_harmonic_mean_of_the_two_shares() -> None:
    found = first_errors(Forest([FOUND, TOO_LATE, UNSEEN, CLEAN, SUSPECTED, CLEAN]), "model")
    assert found.wrong.estimate == pytest.approx(1 / 3)
    assert found.right.estimate == pytest.approx(2 / 3)
    assert found.f1.estimate == pytest.approx(2 * (1 / 3) * (2 / 3))
    assert found.f1.low < found.f1.estimate < found.f1.high


def test_a_response_with_a_missing_score_is_left_out_and_counted() -> None:
    found = first_errors(Forest([FOUND, CLEAN, response([1, 1], [None, 0.9])]), "model")
    assert (found.f1.estimate, found.f1.missing, found.right.n) == (1.0, 1, 1)


def test_saying_that_everything_is_wrong_is_worth_nothing() -> None:
    assert first_errors(Forest([FOUND, UNSEEN, CLEAN, SUSPECTED]), "model", at=1.0).f1.estimate == 0


def test_the_threshold_is_chosen_where_errors_and_right_steps_part() -> None:
    forest = Forest([FOUND, response([1, 0], [0.7, 0.35]), CLEAN, SUSPECTED])
    at = best_threshold(forest, "model")
    assert 0.35 <= at < 0.4
    assert first_errors(forest, "model", at=at).f1.estimate == 1


def test_responses_of_one_kind_only_show_nothing() -> None:
    with pytest.raises(AuditError, match="0 of 2 responses have an error by 'step'"):
        first_errors(Forest([CLEAN, SUSPECTED]), "model")


def test_a_gain_is_the_difference_of_both_on_the_same_responses() -> None:
    forest = Forest([response([1, 0, 0], [0.9, 0.3, 0.1]), response([1, 1], [0.9, 0.8]), response([1, 0], [0.2, 0.1])])
    for tree in forest:
        for node in tree.walk():
            node.scores["late"] = Score(0.0 if node.is_leaf else 1.0)  # blames the last step of every response
    model, late = first_errors(forest, "model").f1, first_errors(forest, "late").f1
    gain = f1_gain(forest, "late", "model", at=(0.5, 0.5))
    assert gain.estimate == pytest.approx(model.estimate - late.estimate)
    assert gain.estimate == pytest.approx(2 / 3)
    assert f1_gain(forest, "model", "model").estimate == 0
    assert f1_gain(forest, "model", "model", at=(0.5, 0.25)).estimate == pytest.approx(-2 / 3)
