"""Keep what two labellers agree on: completions say where a response goes wrong, and so does a judge.

Zhang et al. 2025, "The Lessons of Developing Process Reward Models" (arXiv 2501.07301), section 3.2: completions can
succeed in spite of a wrong step, and fail after a right one; a judge errs otherwise. Responses whose first error both
find at the same step are kept, and those in which neither finds one.
"""

from __future__ import annotations

from espalier.trees import Forest, first_error
from espalier.trees.node import Node


def consensus(forest: Forest, by: str, judge: str, at: float = 0.0, judge_at: float = 0.5) -> Forest:
    """A copy with the responses (and of them the steps) on which the labels `by` and `judge` agree.

    Args:
        by: step labels by completions.
        judge: step labels by a judge.
        at: the highest label `by` that says "wrong"; 0 where no completion may have succeeded.
        judge_at: the same of the judge.
    """
    trees = []
    for tree in forest:
        kept: set[Node] = set()
        for leaf in tree.leaves():
            chain = leaf.path()
            if first_error(chain, by, at) is first_error(chain, judge, judge_at):
                kept.update(chain)
        if kept:
            trees.append(tree.copy(keep=kept.__contains__))
    return Forest(trees)
