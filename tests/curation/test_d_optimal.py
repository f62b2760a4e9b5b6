"""The greedy design is the best next pair by the determinant, and rank-one updates stay exact."""

import numpy as np
import pytest

from espalier.curation import Design, d_optimal, information, most_informative
from espalier.errors import ConfigError
from espalier.trees import Forest, Node, Score, Tree

VECTORS = np.random.default_rng(0).normal(size=(30, 4))


def test_each_choice_raises_the_determinant_most():
    chosen = d_optimal(VECTORS, 6, Design(4, ridge=0.5))
    matrix = 0.5 * np.eye(4)
    for place, pick in enumerate(chosen):
        gains = [np.linalg.slogdet(matrix + np.outer(v, v))[1] for v in VECTORS]
        for before in chosen[:place]:
            gains[before] = -np.inf
        assert int(np.argmax(gains)) == pick
        matrix += np.outer(VECTORS[pick], VECTORS[pick])


def test_inverse_and_determinant_follow_without_being_computed():
    design = Design(4, ridge=0.5)
    chosen = d_optimal(VECTORS, 6, design)
    matrix = 0.5 * np.eye(4) + VECTORS[chosen].T @ VECTORS[chosen]
    assert design.inverse == pytest.approx(np.linalg.inv(matrix))
    assert design.logdet == pytest.approx(np.linalg.slogdet(matrix)[1])


def test_rounds_with_labels_between_go_on_where_the_last_one_ended():
    design = Design(4)
    first = d_optimal(VECTORS, 3, design)
    second = d_optimal(VECTORS, 3, design, without=first.tolist())
    assert [*first, *second] == d_optimal(VECTORS, 6).tolist()
    assert len(d_optimal(VECTORS, 99, without=first.tolist())) == 27


def test_a_logit_of_which_the_policy_is_sure_tells_little():
    found = information(np.ones((2, 1)), np.array([0.0, 8.0]), beta=2.0)
    assert found[0, 0] == pytest.approx(2 * 0.5)
    assert found[1, 0] < 0.05
    with pytest.raises(ConfigError, match="ridge"):
        Design(2, ridge=0.0)


def test_a_forest_keeps_the_trees_that_span_the_features():
    places = {"x": [3.0, 0.0], "x too": [2.9, 0.0], "y": [0.0, 1.0], "sure": [0.0, 9.0]}
    trees = []
    for name in places:
        root = Node(name, "prompt")
        root.add(Node("one", scores={"implicit": Score(20.0 if name == "sure" else 0.0)}))
        root.add(Node("two", scores={"implicit": Score(0.0)}))
        trees.append(Tree(root, id=name))
    trees.append(Tree(Node("bare", "prompt"), id="bare"))

    def features(node: Node) -> np.ndarray:
        return np.array(places[node.root().text]) * (node.text == "one")

    found = most_informative(Forest(trees), features, 2, by="implicit", ridge=0.01)
    assert {tree.id: tree.meta["curation"]["d-optimal"] for tree in found} == {"x": 0, "y": 1}
