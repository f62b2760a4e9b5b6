"""Pruning keeps what was asked for, leaves the original alone and never takes a missing score for a number."""

from espalier.curation import best_and_worst, informative, keep_above
from espalier.trees import Forest, Node, Score, Tree


def tree(*scores: float | None) -> Tree:
    made = Tree(Node("prompt", "prompt"))
    step = made.root.add(Node("step"))
    for i, score in enumerate(scores):
        where = made.root if i % 2 else step
        given = Score.absent("timed out") if score is None else Score(score)
        where.add(Node(f"{i}", scores={"r": given}))
    return made


def texts(forest: Forest) -> list[list[str]]:
    return [[leaf.text for leaf in t.leaves()] for t in forest]


def test_keep_above_drops_branches_and_trees_and_leaves_the_original_alone():
    forest = Forest([tree(0.9, 0.1, 0.6), tree(0.2, None), tree()])
    assert texts(keep_above(forest, "r", 0.5)) == [["0", "2"]]
    assert texts(forest)[0] == ["0", "2", "1"]


def test_a_missing_score_is_neither_best_nor_worst():
    assert texts(best_and_worst(Forest([tree(None, 0.5, 0.7, 0.6)]), "r")) == [["2", "1"]]
    assert texts(best_and_worst(Forest([tree(0.5, None), tree(0.5, 0.6)]), "r", margin=0.2)) == []


def test_only_trees_with_different_scores_are_informative():
    forest = Forest([tree(1, 1, 1), tree(1, 0), tree(1, None), tree(None)])
    assert list(informative(forest, "r")) == [forest[1]]
