"""Pairs of two right responses, the more detailed one chosen: to teach patience, and nothing new.

"Patience is the key to large language model reasoning" (2024, arXiv 2411.13082): a model writes its
solutions out in more detail; both versions are right, so the pair speaks of thoroughness alone.
"""

from __future__ import annotations

from espalier.curation.take import only
from espalier.trees import Forest, Node, Score


def patient_pairs(forest: Forest, by: str, at: float = 0.0) -> Forest:
    """For each tree the longest and the shortest response that score above `at`, the longest by "preference".

    Lengths are tokens where all such responses have token ids, else characters. Trees with right responses of one
    length only give no pair.
    """
    found = []
    for tree in forest:
        right = [leaf for leaf in tree.leaves() if (value := leaf.value(by)) is not None and value > at]
        counted = all(node.token_ids is not None for leaf in right for node in leaf.path()[1:])
        lengths = [_length(leaf, counted) for leaf in right]
        if len(set(lengths)) < 2:
            continue
        pair = only(tree, [right[lengths.index(end)] for end in (max(lengths), min(lengths))])
        for leaf in pair.leaves():
            leaf.scores["preference"] = Score(float(_length(leaf, counted) == max(lengths)))
        found.append(pair)
    return Forest(found)


def _length(leaf: Node, tokens: bool) -> int:
    return sum(len(node.token_ids or ()) if tokens else len(node.text) for node in leaf.path()[1:])
