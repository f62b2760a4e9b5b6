"""A stream goes with its tokens, and is never read on others."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.trees import Forest, Node, Tree, open_forest, put_stream, read_stream, split_steps


def annotated(prompt: tuple[int, ...] = (1, 2)) -> Tree:
    root = Node("p", "prompt", token_ids=list(prompt))
    answer = root.add(Node("a\nb", token_ids=[3, 4, 5], logprobs=[-1.0, -2.0, -3.0]))
    put_stream(answer, "teacher", [-0.1, -0.2, -0.3])
    return Tree(root, "t")


def values(node: Node) -> list[float] | None:
    found = read_stream(node, "teacher")
    return None if found is None else [round(value, 6) for value in found.tolist()]


def test_a_stream_survives_copy_merge_and_disk(tmp_path: Path) -> None:
    tree = annotated()
    other = annotated()
    Forest([tree]).write(tmp_path / "f.parquet")
    for same in (tree.copy(), Forest([tree, other]).merge()[0], open_forest(tmp_path / "f.parquet")[0]):
        assert all(values(leaf) == [-0.1, -0.2, -0.3] for leaf in same.leaves())
    assert read_stream(tree.leaves()[0], "student") is None


def test_splitting_into_steps_cuts_the_stream_with_the_tokens() -> None:
    text = {3: "a", 4: "\n", 5: "b"}
    split = split_steps(annotated(), decode=lambda ids: "".join(text[i] for i in ids))
    assert [values(node) for node in split.leaves()[0].path()[1:]] == [[-0.1, -0.2], [-0.3]]


def test_other_tokens_anywhere_on_the_path_make_a_stream_absent() -> None:
    edited, moved, bare, short = annotated(), annotated(), annotated(), annotated()
    edited.leaves()[0].token_ids[1] = 9
    moved.root.token_ids = [1, 2, 2]
    bare.root.token_ids = None
    short.leaves()[0].token_ids.pop()
    assert [values(tree.leaves()[0]) for tree in (edited, moved, bare, short)] == [None] * 4
    assert values(annotated().leaves()[0]) is not None


def test_a_stream_has_one_value_a_token() -> None:
    with pytest.raises(ValueError, match="2 values for 3 token ids"):
        put_stream(annotated().leaves()[0], "teacher", [0.0, 0.0])
    with pytest.raises(ValueError, match="for no token ids"):
        put_stream(Node("a"), "teacher", [])
