"""Pairs where a search tried several steps: the best and the worst way to go on from the same place.

    searched   a -> b (q 0.9), c (q 0.4), d (q 0.1)
    pair       a -> b or d

Step-level preferences from tree search: MCTS-DPO (Xie et al. 2024, arXiv 2405.00451), and iTool (Zeng et al. 2025,
arXiv 2501.09766), which pins a wrong fragment of a tool call down so, and asks besides that the chosen step be good
in itself. The pair forks after a shared beginning, so any pairwise loss on it speaks of the two steps alone.
"""

from __future__ import annotations

import math

from espalier.curation.forks import fork
from espalier.trees import Forest


def sibling_pairs(forest: Forest, by: str = "q", margin: float = 0.0, at: float = -math.inf) -> Forest:
    """A tree for each place with alternatives: the steps before it, then the best and the worst, by "preference".

    Args:
        forest: searched trees; a step without the score is not compared.
        by: the score of steps, such as "q", which `MCTS` leaves on every node that it reached.
        margin: scores that differ by no more than this make no pair.
        at: the least score of a chosen step.
    """
    found = []
    for tree in forest:
        for node in tree.walk():
            scored = [(value, child) for child in node.children if (value := child.value(by)) is not None]
            if not scored:
                continue
            (high, better), (low, worse) = (end(scored, key=lambda pair: pair[0]) for end in (max, min))
            if high - low > margin and high >= at:
                found.append(fork(tree, worse, tree, better))
    return Forest(found)
