"""Aggregation by hand-worked votes."""

from __future__ import annotations

import pytest

from espalier.errors import ConfigError
from espalier.search import best, generated, majority, prefixes, unscored, weighted
from espalier.trees import Forest, Node, Score, Tree


def tree(*leaves: tuple[str, float | None]) -> Tree:
    """Leaves of (answer, score); "" gives no answer, a trailing "-" is cut by the token limit, None is missing."""
    root = Node("?", "prompt")
    for i, (text, score) in enumerate(leaves):
        stop = "length" if text.endswith("-") else "eos"
        leaf = root.add(Node(text, token_ids=[0] * (i + 1), stop=stop))
        leaf.scores["value"] = Score.absent("no idea") if score is None else Score(score)
    return Tree(root)


def answer(text: str) -> str | None:
    return text.removesuffix("-") or None


def index(leaves: list[Node], leaf: Node | None) -> int | None:
    return None if leaf is None else leaves.index(leaf)


def choices(*leaves: tuple[str, float | None]) -> tuple[int | None, int | None, int | None]:
    """Which leaf each aggregation takes: (best, majority, weighted)."""
    found = tree(*leaves).leaves()
    chosen = best(found, "value"), majority(found, answer), weighted(found, answer, "value")
    return tuple(index(found, leaf) for leaf in chosen)


def test_four_aggregations_of_one_forest_can_differ():
    # best: 0.9 for "7". majority: three "5". weighted: "6" with 1.4 beats "5" with 1.2 and "7" with 0.9.
    assert choices(("5", 0.4), ("6", 0.6), ("5", 0.5), ("7", 0.9), ("6", 0.8), ("5", 0.3)) == (3, 0, 4)


def test_ties_go_to_what_was_seen_first():
    assert choices(("1", 0.5), ("2", 0.5), ("2", 0.5), ("1", 0.5)) == (0, 0, 0)


def test_missing_scores_are_left_out_and_not_zero():
    # Were the missing score 0, it would beat -1 in `best`.
    found = tree(("5", None), ("6", -1.0)).leaves()
    assert index(found, best(found, "value")) == 1
    assert unscored(found, "value") == 1
    assert choices(("5", None), ("5", None), ("6", 0.1)) == (2, 0, 2)
    assert choices(("5", None)) == (None, 0, None)


def test_unfinished_leaves_count_only_where_nothing_finished():
    assert choices(("5-", 0.9), ("5-", 0.9), ("6", 0.1)) == (2, 2, 2)
    assert choices(("5-", 0.2), ("6-", 0.3)) == (1, 0, 1)


def test_leaves_without_an_answer_do_not_vote():
    assert choices(("", 0.9), ("", 0.9), ("6", 0.1)) == (0, 2, 2)
    assert choices(("", 0.9)) == (0, None, None)
    assert choices() == (None, None, None)


def test_a_negative_weight_is_refused():
    with pytest.raises(ConfigError, match=r"not negative, found value = -1\.0"):
        weighted(tree(("5", 0.5), ("6", -1.0)).leaves(), answer, "value")


def test_prefixes_of_a_forest_are_what_fewer_samples_would_have_given():
    forest = Forest([tree(("5", 0.1), ("6", 0.9), ("6", 0.2)), tree(("1", 0.3), ("2", 0.1), ("2", 0.1))])
    curve = prefixes(forest, lambda leaves: majority(leaves, answer), ks=[1, 3])
    assert [point.k for point in curve] == [1, 3]
    assert [[leaf.text for leaf in point.answers] for point in curve] == [["5", "1"], ["6", "2"]]
    assert [point.generated for point in curve] == [[1, 1], [6, 6]]
    with pytest.raises(ConfigError, match="3 leaves, fewer than k = 4"):
        prefixes(forest, lambda leaves: None, ks=[4])


def test_shared_segments_are_counted_once():
    root = Node("?", "prompt", token_ids=[9, 9])
    step = root.add(Node("a", token_ids=[1, 1, 1]))
    leaves = [step.add(Node(text, token_ids=[2])) for text in "xy"]
    assert (generated(leaves[:1]), generated(leaves)) == (4, 5)
