"""Views point at the right nodes, and splitting a response into steps loses no character and no token."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.errors import EspalierError
from espalier.trees import Forest, Node, Score, Tree, chains, groups, pairs, split_steps, steps


def scored(*rewards: float | str | None) -> Tree:
    """A leaf for each: a number is its reward, a string the reason why it is missing, None no score at all."""
    tree = Tree(Node("p", "prompt"))
    for reward in rewards:
        score = Score.absent(reward) if isinstance(reward, str) else None if reward is None else Score(reward)
        tree.root.add(Node(str(reward), scores={} if score is None else {"reward": score}))
    return tree


def test_pairs_leave_out_ties_small_margins_and_missing_scores() -> None:
    tree = scored(0.0, 1.0, "timed out", 0.75, 1.0, None)
    found = [(pair.chosen.text, pair.rejected.text, pair.margin) for pair in pairs(tree, "reward", margin=0.5)]
    assert found == [("1.0", "0.0", 1.0), ("0.75", "0.0", 0.75), ("1.0", "0.0", 1.0)]
    assert len(pairs(tree, "reward")) == 5
    assert pairs(tree, "reward", margin=1.0) == []
    assert pairs(tree) == []


def test_groups_count_what_is_missing_and_stay_in_step_with_the_forest() -> None:
    forest = Forest([scored(1.0, "crashed", None, 0.0), scored(), scored("crashed")])
    first, bare, crashed = groups(forest)
    assert (first.root, first.scores, first.missing) == (forest[0].root, [1.0, 0.0], 2)
    assert [leaf.text for leaf in first.leaves] == ["1.0", "0.0"]
    assert (bare.scores, bare.missing) == ([], 0)
    assert (crashed.scores, crashed.missing) == ([], 1)


def test_chains_and_steps_follow_each_path_through_a_fork() -> None:
    tree = Tree(Node("p", "prompt", scores={"label": Score(9.0)}))
    shared = tree.root.add(Node("a", scores={"label": Score(1.0)}))
    shared.add(Node("b", scores={"label": Score.absent("cannot tell")}))
    shared.add(Node("c"))
    assert [[node.text for node in chain] for chain in chains(tree)] == [["p", "a", "b"], ["p", "a", "c"]]
    first, second = steps(tree)
    assert [(node.text, score.value) for node, score in first] == [("a", 1.0), ("b", None)]
    assert [node.text for node, _ in second] == ["a"]
    assert chains(Tree(Node("p", "prompt"))) == steps(Tree(Node("p", "prompt"))) == []


def test_a_response_ends_where_only_a_critic_goes_on() -> None:
    tree = Tree(Node("p", "prompt"))
    draft = tree.root.add(Node("draft"))
    draft.add(Node("what is wrong?", "prompt")).add(Node("all of it", "critic"))
    tree.root.add(Node("what is missing?", "prompt")).add(Node("nothing", "critic"))
    revised = tree.root.add(Node("a hint", "critic")).add(Node("revised"))
    assert tree.leaves() == [draft, revised]
    assert [chain[-1] for chain in chains(tree)] == tree.leaves()


@pytest.mark.parametrize(
    ("text", "separator", "pieces"),
    [
        ("a\nb\nc", "\n", ["a\n", "b\n", "c"]),
        ("a\nb\n", "\n", ["a\n", "b\n"]),
        ("a\n\n\nb", "\n", ["a\n\n\n", "b"]),
        ("\n\na\nb", "\n", ["\n\na\n", "b"]),
        ("\n\n", "\n", ["\n\n"]),
        ("a", "\n", ["a"]),
        ("", "\n", [""]),
        ("a; b;c", "; ", ["a; ", "b;c"]),
        ("aXXXb", "XX", ["aXX", "Xb"]),
    ],
)
def test_a_step_ends_behind_its_separators(text: str, separator: str, pieces: list[str]) -> None:
    tree = Tree(Node("p\nq", "prompt"), "id", {"answer": 1})
    last = tree.root.add(Node(text, "human", stop="eos", scores={"label": Score(1.0)}, meta={"model": "m"}))
    last.add(Node("x\ny", "tool"))
    split = split_steps(tree, separator)
    nodes = list(split.walk())
    assert [node.text for node in nodes] == ["p\nq", *pieces, "x\ny"]
    assert [node.depth for node in nodes] == list(range(len(nodes)))
    assert {node.author for node in nodes[1:-1]} == {"human"}
    assert [node.stop for node in nodes[1:-1]] == [None] * (len(pieces) - 1) + ["eos"]
    assert [bool(node.scores or node.meta) for node in nodes[1:-1]] == [False] * (len(pieces) - 1) + [True]
    assert (split.id, split.meta, len(list(tree.walk()))) == ("id", {"answer": 1}, 3)


def test_splitting_keeps_the_order_of_alternatives() -> None:
    tree = Tree(Node("p", "prompt"))
    for text in ("a", "b\nc", "d\ne"):
        tree.root.add(Node(text))
    split = split_steps(tree)
    assert [child.text for child in split.root.children] == ["a", "b\n", "d\n"]
    assert [leaf.response() for leaf in split.leaves()] == ["a", "b\nc", "d\ne"]


def encoded(tokenizer: Any, text: str) -> Tree:
    ids = [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    tree = Tree(Node("p", "prompt"))
    tree.root.add(Node(text, "policy", ids, [-float(i) for i in range(len(ids))], "eos"))
    return tree


def test_tokens_are_cut_where_a_token_completes_the_separator(tokenizer: Any) -> None:
    text = "one\n\ntwo\nthree"
    tree = encoded(tokenizer, text)
    pieces = list(split_steps(tree, decode=lambda ids: tokenizer.decode(ids, skip_special_tokens=True)).walk())[1:]
    whole = tree.leaves()[0]
    assert whole.token_ids is not None
    assert whole.logprobs is not None
    assert [token for piece in pieces for token in piece.token_ids or []] == whole.token_ids
    assert [value for piece in pieces for value in piece.logprobs or []] == whole.logprobs
    assert "".join(piece.text for piece in pieces) == text
    assert [tokenizer.decode(piece.token_ids, skip_special_tokens=True) for piece in pieces] == [
        piece.text for piece in pieces
    ]
    with pytest.raises(ValueError, match="needs decode="):
        split_steps(tree)
    with pytest.raises(ValueError, match="decode gives 'nonsense'"):
        split_steps(tree, decode=lambda ids: "nonsense")


def test_no_cut_inside_a_character() -> None:
    tree = "\U0001f333".encode()
    tokens = [b"a", b"\n" + tree[:1], tree[1:], b"b\n", b"c"]
    whole = Tree(Node("p", "prompt"))
    whole.root.add(Node("a\n\U0001f333b\nc", token_ids=list(range(5))))
    split = split_steps(whole, decode=lambda ids: b"".join(tokens[i] for i in ids).decode(errors="replace"))
    assert [(node.text, node.token_ids) for node in split.walk()][1:] == [
        ("a\n\U0001f333", [0, 1, 2]),
        ("b\n", [3]),
        ("c", [4]),
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("one\ntwhr.é\U0001f333 "), max_size=30))
def test_splitting_is_lossless_for_any_text(tokenizer: Any, text: str) -> None:
    tree = encoded(tokenizer, text)
    split = split_steps(tree, decode=lambda ids: tokenizer.decode(ids, skip_special_tokens=True))
    pieces = split.leaves()[0].path()[1:]
    assert "".join(piece.text for piece in pieces) == text
    assert [token for piece in pieces for token in piece.token_ids or []] == tree.leaves()[0].token_ids
    for piece in pieces:
        assert tokenizer.decode(piece.token_ids, skip_special_tokens=True) == piece.text
    for piece in pieces[:-1]:
        assert piece.text.strip("\n")
        assert "\n" in piece.text
    # A byte a token has nothing that spans a separator, so its cuts are those of the bare text.
    plain = Tree(Node("p", "prompt"))
    plain.root.add(Node(text))
    letters = Tree(Node("p", "prompt"))
    letters.root.add(Node(text, token_ids=list(text.encode())))
    cut = split_steps(letters, decode=lambda ids: bytes(ids).decode(errors="replace"))
    assert [node.text for node in cut.walk()] == [node.text for node in split_steps(plain).walk()]


def test_merging_refuses_tokens_of_two_tokenizers_and_takes_over_the_one_there_is() -> None:
    def tree(fingerprint: str | None) -> Tree:
        ids = None if fingerprint is None else [1]
        grown = Tree(Node("p", "prompt", ids, meta={} if fingerprint is None else {"tokenizer": fingerprint}))
        grown.root.add(Node("a", token_ids=ids))
        return grown

    with pytest.raises(EspalierError, match="different tokenizers"):
        Forest([tree("x"), tree(None), tree("y")]).merge()
    (merged,) = Forest([tree(None), tree("x")]).merge()
    assert (merged.root.meta, merged.root.token_ids, len(merged.leaves())) == ({"tokenizer": "x"}, [1], 2)
