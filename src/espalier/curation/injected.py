"""Pairs of a right step and the same step with a subtle error put in: what differs is the error and nothing else.

Xu et al. 2024 (RISE, arXiv 2410.06638): sampled wrong solutions differ from right ones in much that is no error; a
right solution with a few tokens edited does not. They train on both kinds of pairs together, with a likelihood term on
the right solutions. The editor may be a model or a rule; here it is any function, with two rules of numbers beside.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from espalier.curation.forks import fork
from espalier.curation.take import only
from espalier.trees import Forest, Node, Tree

Edit = Callable[[Node, np.random.Generator], str | None]
"""From a right step to the same step with an error, or None where it offers no room for one."""

_NUMBER = re.compile(r"\d+")


def injected_pairs(forest: Forest, by: str, edit: Edit, edits: int = 1, seed: int = 0, at: float = 0.0) -> Forest:
    """A tree for each edited step: the steps before it, then the right and the edited one, by "preference".

    Of each tree the first response that scores above `at` is edited, in `edits` of its steps, drawn at random among
    those where `edit` finds room.

    Args:
        forest: trees with a node for each step (`espalier.trees.split_steps`).
        by: the score that says which responses are right.
    """
    rng, found = np.random.default_rng(seed), []
    for tree in forest:
        right = next((leaf for leaf in tree.leaves() if (value := leaf.value(by)) is not None and value > at), None)
        if right is None:
            continue
        steps, made = right.path()[1:], 0
        for step in (steps[place] for place in rng.permutation(len(steps))):
            text = edit(step, rng) if made < edits else None
            if text is not None and text != step.text:
                found.append(_edited(tree, step, text))
                made += 1
    return Forest(found)


def wrong_number(step: Node, rng: np.random.Generator, most: int = 10) -> str | None:
    """One number of the step, drawn at random, is off by 1 to `most`: a miscalculation."""
    numbers = list(_NUMBER.finditer(step.text))
    if not numbers:
        return None
    which = numbers[rng.integers(len(numbers))]
    value, off = int(which[0]), int(rng.integers(1, most + 1))
    return (
        step.text[: which.start()]
        + str(value - off if rng.random() < 0.5 and value >= off else value + off)
        + (step.text[which.end() :])
    )


def swapped_numbers(step: Node, rng: np.random.Generator) -> str | None:
    """Two different neighbours among the step's numbers change places: a wrong substitution."""
    numbers = list(_NUMBER.finditer(step.text))
    chances = [k for k in range(len(numbers) - 1) if numbers[k][0] != numbers[k + 1][0]]
    if not chances:
        return None
    first, second = numbers[k := chances[rng.integers(len(chances))]], numbers[k + 1]
    text = step.text
    return text[: first.start()] + second[0] + text[first.end() : second.start()] + first[0] + text[second.end() :]


def _edited(tree: Tree, step: Node, text: str) -> Tree:
    """The fork of the step and its edited copy, without what was measured on the old text."""
    other = only(tree, [step])
    (copy,) = other.leaves()
    copy.text, copy.token_ids, copy.logprobs, copy.streams, copy.scores = text, None, None, {}, {}
    return fork(other, copy, tree, step)
