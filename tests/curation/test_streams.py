"""Selection by stored log-probs: clear pairs and conditional loss reduction, with numbers worked out by hand."""

import pytest

from espalier.curation import clear, color_filter, response_logprob
from espalier.trees import Forest, Node, Score, Tree, put_stream


def leaf(root: Node, text: str, preference: float, **streams: list[float]) -> Node:
    node = root.add(Node(text, token_ids=[1] * len(text), scores={"preference": Score(preference)}))
    for name, values in streams.items():
        put_stream(node, name, values)
    return node


def pair(name: str, chosen: float, rejected: float) -> Tree:
    root = Node(name, "prompt", token_ids=[0])
    leaf(root, "a", 1.0, reference=[chosen])
    leaf(root, "b", 0.0, reference=[rejected])
    return Tree(root, id=name)


def test_clear_pairs_are_those_whose_label_the_reference_shares():
    forest = Forest([pair("agrees", -1, -3), pair("contradicts", -9, -1), pair("agrees most", -1, -5)])
    found = clear(forest, "reference", keep=2)
    assert {tree.id: tree.meta["curation"]["clear"] for tree in found} == {"agrees": 2.0, "agrees most": 4.0}
    assert len(clear(forest, "reference", keep=0.34)) == 1


def test_a_pair_without_the_stream_is_not_kept():
    bare = pair("bare", 0, 0)
    bare.leaves()[0].streams.clear()
    assert [tree.id for tree in clear(Forest([bare, pair("agrees", -1, -3)]), "reference", keep=0.99)] == ["agrees"]


def test_the_log_prob_of_a_response_adds_up_over_its_segments():
    root = Node("p", "prompt", token_ids=[0])
    step = leaf(root, "ab", 0.0, m=[-1.0, -2.0])
    end = leaf(step, "c", 0.0, m=[-3.0])
    assert response_logprob(end, "m") == pytest.approx(-6.0)
    assert response_logprob(end, "m", average=True) == pytest.approx(-2.0)
    assert response_logprob(end, "other") is None


def test_texts_that_lost_most_a_token_are_kept_not_the_easy_ones():
    def text(name: str, prior: list[float], conditional: list[float]) -> Tree:
        root = Node(name, "prompt", token_ids=[0])
        leaf(root, "x" * len(prior), 0.0, prior=prior, conditional=conditional)
        return Tree(root, id=name)

    easy, learned, long = (
        text("easy", [-0.1], [-0.1]),
        text("learned", [-4.0], [-2.0]),
        text("long", [-2] * 3, [-1] * 3),
    )
    found = color_filter(Forest([easy, long, learned]), "prior", "conditional", keep=1)
    assert {tree.id: tree.meta["curation"]["color"] for tree in found} == {"learned": 2.0}
