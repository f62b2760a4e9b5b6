"""Tool calls are rewarded by their parts, as worked out by hand."""

from __future__ import annotations

import pytest

from espalier.scorers.tool_calls import ToolCallReward, tool_call_match
from espalier.trees import Forest, Node, Tree

ADD = {"name": "add", "parameters": {"a": 1, "b": 2}}
NOW = {"name": "now", "parameters": {}}


@pytest.mark.parametrize(
    ("made", "match"),
    [
        ([ADD, NOW], 1.0),
        ([NOW, ADD], 1.0),
        ([], 0.0),
        ([ADD], (1 / 2 + 1 + 2) / 5),
        ([NOW], (1 / 2 + 1) / 5),
        ([ADD, ADD, NOW], (2 / 3 + 1 + 2 + 1) / 5),
        ([{"name": "add", "parameters": {"a": 9, "b": 9}}, ADD, NOW], (2 / 3 + 1 + 2 + 1) / 5),
        ([{"name": "add", "parameters": {"a": 1}}, NOW], (1 + 1 / 2 + 1 + 1) / 5),
        ([{"name": "sub", "parameters": {"a": 1, "b": 2}}], 0.0),
    ],
)
def test_the_match_by_hand(made: list, match: float) -> None:
    assert tool_call_match([ADD, NOW], made) == pytest.approx(match)


def test_the_reward_adds_the_form() -> None:
    good = '<think>so</think>\n<tool_call>\n{"name": "add", "parameters": {"a": 1, "b": 2}}\n</tool_call>'
    texts = (
        good,
        good.replace("<think>so</think>\n", ""),
        good.replace('"b": 2', '"b": 3'),
        "4",
        good.replace("}}", "}"),
    )
    tree = Tree(Node("1+2?", "prompt"), "q", {"calls": [ADD]})
    for text in texts:
        tree.root.add(Node(text, stop="eos"))
    forest = ToolCallReward("exact", exact=True).score(ToolCallReward().score(Forest([tree])))
    assert [leaf.value("tool_calls") for leaf in forest.leaves()] == [4, 3, 2.5, -3, -2]
    assert [leaf.value("exact") for leaf in forest.leaves()] == [4, 3, -2, -3, -2]


def test_without_wanted_calls_it_is_missing() -> None:
    tree = Tree(Node("?", "prompt"))
    tree.root.add(Node("!", stop="eos"))
    assert "no meta['calls']" in str(ToolCallReward().score(Forest([tree]))[0].leaves()[0].scores["tool_calls"].missing)
