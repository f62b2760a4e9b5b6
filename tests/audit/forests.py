"""Small forests for the tests of the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from espalier.trees import Forest, Node, Score, Stop, Tree

Sample = tuple[str, Mapping[str, float | str]]
"""A response and its scores; a string in place of a number is the reason why it is missing."""


def respond(tree: Tree, text: str, scores: Mapping[str, float | str], stop: Stop = "eos") -> Node:
    given = {k: Score.absent(v) if isinstance(v, str) else Score(float(v)) for k, v in scores.items()}
    return tree.root.add(Node(text, stop=stop, scores=given))


def forest_of(problems: Sequence[Sequence[Sample]]) -> Forest:
    trees = []
    for i, samples in enumerate(problems):
        tree = Tree(Node(f"problem {i}: ", "prompt"), id=f"p{i}")
        for text, scores in samples:
            respond(tree, text, scores)
        trees.append(tree)
    return Forest(trees)


def correct(*values: float | str) -> list[Sample]:
    return [("answer", {"correct": value}) for value in values]
