"""Pairs that fork at one step: a right beginning, the step that went wrong, and the policy's own better step.

    wrong answer     a  b  X  y          X is the first step whose score is low
    resampled        a  b  C  d          from "a b" on, until an answer is right
    pair             a  b  -> C or X     DPO on it is Step-DPO: the shared beginning cancels

Step-DPO (Lai et al. 2024, arXiv 2406.18629) takes the first step that a step verifier finds wrong, and corrections that
the policy itself wrote. Setlur et al. 2024 (arXiv 2406.14532) need no step verifier: a step's value is the share of
continuations that end right (`curation.labels.MonteCarlo`), and the first pit is the first step from which none does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from espalier.curation.take import only
from espalier.engines import Engine, Sampling
from espalier.scorers import Scorer
from espalier.trees import Forest, Node, Score, Tree
from espalier.trees.views import split_steps


def first_low(leaf: Node, by: str, at: float = 0.0) -> Node | None:
    """The first step of a response whose score `by` is not above `at`, None where there is none."""
    return next((node for node in leaf.path()[1:] if (value := node.value(by)) is not None and value <= at), None)


def step_pairs(
    forest: Forest,
    engine: Engine,
    scorer: Scorer,
    n: int,
    sampling: Sampling,
    by: str,
    at: float = 0.0,
    split: Callable[[Tree], Tree] = split_steps,
) -> Forest:
    """A tree for each step that went wrong: the steps before it, then a right and the wrong one, by "preference".

    For each response that the scorer gives no more than `at`, its `first_low` step is tried again from where it starts;
    the first of `n` continuations that scores above `at`, and that begins otherwise, gives the better step. Where there
    is none, there is no pair.

    Args:
        forest: trees with a node for each step, scored `by`: a step verifier's name, or that of a Monte Carlo label.
        scorer: judges finished responses.
        n: continuations a wrong step.
        split: cuts continuations into steps, as the forest's responses were.
    """
    scorer.score(forest)
    wrong: dict[int, tuple[Tree, Node]] = {}
    for tree in forest:
        for leaf in tree.leaves():
            value, step = leaf.value(scorer.name), first_low(leaf, by, at)
            if value is not None and value <= at and step is not None:
                wrong[id(step)] = (tree, step)
    starts = [(tree, step.parent) for tree, step in wrong.values() if step.parent is not None]
    found = []
    for (tree, step), grown in zip(wrong.values(), _continued(starts, engine, scorer, n, sampling), strict=True):
        tried = split(grown)
        for leaf in tried.leaves():
            better = leaf.path()[step.depth]
            if (value := leaf.value(scorer.name)) is not None and value > at and better.text != step.text:
                found.append(fork(tree, step, tried, better))
                break
    return Forest(found)


def fork(tree: Tree, worse: Node, other: Tree, better: Node) -> Tree:
    """The tree's path to `worse`, with `better` (of this tree or another with the same path) as its only alternative.

    Both become leaves; the score "preference" is 1 on the better and 0 on the worse.
    """
    pair = only(tree, [worse])
    wrong, right = pair.leaves()[0], only(other, [better]).leaves()[0].detach()
    assert wrong.parent is not None
    wrong.parent.add(right)
    right.scores["preference"], wrong.scores["preference"] = Score(1.0), Score(0.0)
    return pair


def _continued(
    places: Sequence[tuple[Tree, Node]], engine: Engine, scorer: Scorer, n: int, sampling: Sampling
) -> list[Tree]:
    """For each place its path alone, with `n` continuations below it, scored."""
    paths = [only(tree, [node]) for tree, node in places]
    ends = [list(path.walk())[-1] for path in paths]
    for end, nodes in zip(ends, engine.extend(ends, n, sampling) if ends else [], strict=True):
        for node in nodes:
            end.add(node)
    return list(scorer.score(Forest(paths)))
