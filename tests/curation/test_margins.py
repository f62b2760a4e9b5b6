"""Pairs are taken from the end of the ranking that was asked for, one a tree, and say by what they were taken."""

import numpy as np
import pytest

from espalier.curation import acquire, by_margin, certain_among_uncertain, certainty, predictive_entropy, uncertain
from espalier.errors import ConfigError
from espalier.trees import Forest, Node, Score, Tree


def tree(name: str, *scores: float | None) -> Tree:
    made = Tree(Node(name, "prompt"), id=name)
    for number, score in enumerate(scores):
        given = {} if score is None else {"implicit": Score(score)}
        made.root.add(Node(f"{name}{number}", scores=given))
    return made


def taken(forest: Forest) -> dict[str, list[str]]:
    return {tree.id: [leaf.text for leaf in tree.leaves()] for tree in forest}


FOREST = Forest([tree("a", 0.0, 3.0, 2.9), tree("b", 1.0, -1.0), tree("c", 0.5, None), tree("d", 0.0, 1.0, 5.0)])


def test_small_margins_are_sought_within_trees_and_then_among_them():
    assert taken(acquire(FOREST, keep=2, prefer="small")) == {"a": ["a1", "a2"], "d": ["d0", "d1"]}


def test_large_margins_are_sought_within_trees_and_then_among_them():
    found = acquire(FOREST, keep=2, prefer="large")
    assert taken(found) == {"a": ["a0", "a1"], "d": ["d0", "d2"]}
    assert [tree.meta["curation"]["margin"] for tree in found] == [3.0, 5.0]


def test_the_original_stays_and_a_response_without_the_score_is_in_no_pair():
    assert set(taken(acquire(FOREST, keep=1.0 - 1e-9))) == {"a", "b", "d"}
    assert len(FOREST[0].leaves()) == 3
    assert FOREST[0].meta == {}
    assert len(acquire(Forest([tree("c", 0.5, None)]))) == 0


def test_the_union_takes_from_both_ends_each_pair_once():
    order = by_margin(np.array([4.0, -1.0, 2.0, 0.5, 3.0]), "both")
    assert order.tolist() == [3, 0, 1, 4, 2]


def test_certainty_is_that_of_the_preference_model_and_ranks_as_margins_do():
    margins = np.array([-2.0, 0.0, 0.5])
    assert certainty(margins) == pytest.approx(np.abs(2 / (1 + np.exp(-margins)) - 1))


def test_certain_pairs_come_from_the_prompts_of_the_most_entropy():
    entropy = predictive_entropy(np.log([[0.5, 0.5], [0.1, 0.2], [0.01, 0.1], [0.9, 0.9]]))
    assert entropy.argsort().tolist() == [3, 0, 1, 2]
    margins = np.array([9.0, 1.0, -2.0, 8.0])
    assert certain_among_uncertain(entropy, margins, prompts=2, count=2).tolist() == [2, 1]


def test_uncertain_prompts_are_those_whose_sampled_responses_were_unlikely():
    def sampled(name: str, *logprobs: list[float] | None) -> Tree:
        made = Tree(Node(name, "prompt"), id=name)
        for number, values in enumerate(logprobs):
            made.root.add(Node(f"{number}", token_ids=[1] * len(values or [1]), logprobs=values))
        return made

    forest = Forest([sampled("sure", [-0.1], [-0.1, -0.1]), sampled("open", [-2.0, -1.0], [-1.0]), sampled("no", None)])
    assert {tree.id: tree.meta["curation"]["entropy"] for tree in uncertain(forest, 1)} == {"open": 2.0}
    assert len(uncertain(forest, 9)) == 2


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="small, large, both"):
        by_margin(np.zeros(2), "medium")
    with pytest.raises(ConfigError, match="keep = 0"):
        acquire(FOREST, keep=0)
    with pytest.raises(ConfigError, match=r"keep = 1\.5"):
        acquire(FOREST, keep=1.5)
