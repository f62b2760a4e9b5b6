"""The predictor finds which tag is worth a person, and the router spends the whole budget there."""

import numpy as np
import pytest

from espalier.curation import PerformancePredictor, annotators, random_mixtures, route
from espalier.errors import ConfigError
from espalier.trees import Forest, Node, Tree

RNG = np.random.default_rng(0)
TAGS = RNG.random((200, 3)) < 0.4


def predictor() -> PerformancePredictor:
    """People help with tag 0, and harm with tag 1."""
    mixtures = random_mixtures(200, 150, RNG)
    shares = mixtures.astype(float) @ TAGS / TAGS.sum(0)
    return PerformancePredictor(TAGS, mixtures, 0.6 + 0.3 * shares[:, 0] - 0.2 * shares[:, 1])


def test_mixtures_send_the_share_that_was_asked_for():
    assert (random_mixtures(40, 10, RNG, share=0.25).sum(1) == 10).all()
    assert len(set(random_mixtures(40, 30, RNG).sum(1))) > 10


def test_people_get_the_pairs_on_which_they_help():
    found = predictor()
    routed = route(found, TAGS, keep=40)
    assert routed.sum() == 40
    assert TAGS[routed, 0].mean() > 0.9
    assert TAGS[routed, 1].mean() < 0.1
    first = found.gains(TAGS)
    assert first[TAGS[:, 0] & ~TAGS[:, 1]].min() > first[~TAGS[:, 0] & TAGS[:, 1]].max()


def test_the_best_of_many_mixtures_is_better_than_they_are_on_average_and_worse_than_by_gain():
    found = predictor()
    tried, random = route(found, TAGS, 40, np.random.default_rng(1)), random_mixtures(200, 50, RNG, share=0.2)
    by_gain, by_trying, average = (
        found.predict(TAGS, routes).mean() for routes in (route(found, TAGS, 40)[None], tried[None], random)
    )
    assert by_gain > by_trying > average


def test_a_forest_says_who_is_to_label_each_tree():
    forest = Forest([Tree(Node(str(i), "prompt"), id=str(i)) for i in range(200)])
    found = annotators(forest, predictor(), lambda tree: TAGS[int(tree.id)].tolist(), keep=0.1)
    people = [tree for tree in found if tree.meta["curation"]["annotator"] == "human"]
    assert len(found) == 200
    assert len(people) == 20
    assert min(tree.meta["curation"]["human gain"] for tree in people) > 0
    with pytest.raises(ConfigError, match="same tags"):
        annotators(forest, predictor(), lambda tree: [True] * (1 + int(tree.id) % 2), keep=0.1)
