"""The hardest problems by a score, stages from easy to hard, and pairs of the best and worst step of a search."""

import pytest

from espalier.curation import hardest, stages
from espalier.curation.siblings import sibling_pairs
from espalier.errors import ConfigError
from espalier.trees import Forest, Node, Score, Tree, pairs


def problem(name: str, *scores: float | None) -> Tree:
    tree = Tree(Node(name, "prompt"), id=name)
    for score in scores:
        given = Score.absent("timed out") if score is None else Score(score)
        tree.root.add(Node("answer", scores={"correct": given}))
    return tree


FOREST = Forest([problem("half", 1, 0, None), problem("never", 0), problem("unknown", None), problem("always", 1, 1)])


def names(forest: Forest) -> list[str]:
    return [tree.id for tree in forest]


def test_the_hardest_are_those_of_the_lowest_mean_score_and_unknown_ones_are_not_judged():
    found = hardest(FOREST, "correct", keep=2)
    assert names(found) == ["half", "never"]
    assert [tree.meta["curation"]["difficulty"] for tree in found] == [-0.5, 0.0]
    assert "curation" not in FOREST[0].meta


def test_stages_go_from_easy_to_hard():
    assert [names(stage) for stage in stages(FOREST, "correct", 3)] == [["always"], ["half"], ["never"]]
    assert [names(stage) for stage in stages(FOREST, "correct", 2)] == [["always", "half"], ["never"]]
    with pytest.raises(ConfigError, match="from 1 to 3"):
        stages(FOREST, "correct", 4)


def searched() -> Forest:
    """a goes on as b (0.9), c (0.4), d (0.1), e (never visited); d goes on as f (0.2), g (0.1)."""
    tree = Tree(Node("?", "prompt"))
    a = tree.root.add(Node("a", scores={"q": Score(0.5)}))
    for text, q in (("b", 0.9), ("c", 0.4), ("d", 0.1)):
        a.add(Node(text, scores={"q": Score(q)}))
    a.add(Node("e"))
    for text, q in (("f", 0.2), ("g", 0.1)):
        a.children[2].add(Node(text, scores={"q": Score(q)}))
    return Forest([tree])


def told(forest: Forest) -> list[tuple[str, str]]:
    return [(pair.chosen.response(), pair.rejected.response()) for tree in forest for pair in pairs(tree)]


def test_siblings_pair_the_best_with_the_worst_at_each_place():
    forest = searched()
    found = sibling_pairs(forest)
    assert told(found) == [("ab", "ad"), ("adf", "adg")]
    assert all(len(tree.leaves()) == 2 for tree in found)
    assert len(forest[0].leaves()) == 5, "the search stays as it is"


def test_a_pair_needs_a_margin_and_a_chosen_step_that_is_good():
    assert told(sibling_pairs(searched(), margin=0.2)) == [("ab", "ad")]
    assert told(sibling_pairs(searched(), at=0.5)) == [("ab", "ad")]
    assert told(sibling_pairs(searched(), at=0.95)) == []
