"""Hint-RFT's demonstrations: tool use that a hint brought about, told as if the policy had thought of it itself.

    sampled plainly     a b                              wrong
    with a hint         a [hint] call (answer) c         right
    to learn from       a  hint  call (answer) c         the hint is the policy's now, the answer still the tool's

START (Li et al. 2025, arXiv 2503.04625): sample with `ToolEngine` and a `Hint`, keep what solves a problem that stays
unsolved without one, and fine-tune. What that policy samples without a hint goes through `keep_above`, for the final
fine-tuning. Their further editing of traces is left out.
"""

from __future__ import annotations

from espalier.curation.take import only
from espalier.trees import Forest, Node, Tree


def hinted_demonstrations(plain: Forest, hinted: Forest, by: str, at: float = 0.0) -> Forest:
    """For each problem that no plain response solves, the hinted responses that solve it with a tool.

    Left out are problems whose plain responses have no score, and responses in which the policy says a segment twice:
    they go round in circles.

    Args:
        plain: responses without a hint, scored.
        hinted: responses to the same problems in the same order, sampled by a `ToolEngine` with a hint, scored.
        by: the score that says what is right.
        at: right is what scores above this.

    Raises:
        ValueError: the two forests do not have the same prompts.
    """
    if [tree.prompt for tree in plain] != [tree.prompt for tree in hinted]:
        raise ValueError("plain and hinted responses must be to the same prompts, in the same order")
    found = []
    for before, after in zip(plain, hinted, strict=True):
        scores = [value for leaf in before.leaves() if (value := leaf.value(by)) is not None]
        if not scores or max(scores) > at:
            continue
        good = [leaf for leaf in after.leaves() if (value := leaf.value(by)) is not None and value > at]
        if good := [leaf for leaf in good if _called(leaf) and not _circles(leaf)]:
            found.append(_own(only(after, good)))
    return Forest(found)


def _called(leaf: Node) -> bool:
    return any(node.author == "tool" for node in leaf.path())


def _circles(leaf: Node) -> bool:
    said = [node.text for node in leaf.path() if node.author == "policy" and node.text]
    return len(set(said)) < len(said)


def _own(tree: Tree) -> Tree:
    for node in tree.walk():
        if node.meta.pop("hint", False):
            node.author = "policy"
    return tree
