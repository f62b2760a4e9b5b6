"""Reward-conditioned relabelling: each pair twice, under a prompt that asks for the quality of one of its responses.

Zhang et al. 2024 (arXiv 2410.08067): asked for the chosen response's score, the chosen one wins; asked for the rejected
response's score, the rejected one does. Any loss of pairs learns from the doubled data; afterwards ask for the best
score. A good response that was rejected is then not unlearned but filed under its own score.
"""

from __future__ import annotations

from espalier.curation.take import only
from espalier.trees import Forest, Node, Score, Tree
from espalier.trees.views import pairs

TEMPLATE = "Write a response of quality {goal:g}.\n{prompt}"
"""How a goal is asked for: `{goal}` is the score, `{prompt}` the prompt's text."""


def asking(prompt: str, goal: float, template: str = TEMPLATE) -> str:
    """The prompt that asks for this score.

    >>> asking("Name a river.", 10)
    'Write a response of quality 10.\\nName a river.'
    """
    return template.format(goal=goal, prompt=prompt)


def reward_conditioned(forest: Forest, by: str, template: str = TEMPLATE, margin: float = 0.0) -> Forest:
    """Two trees for each pair of responses whose scores `by` differ by more than `margin`, with "preference" on both.

    What was measured under the old prompt (log-probs, streams) is dropped, and the prompt's token ids are.
    """
    return Forest(
        _relabelled(tree, wanted, (pair.chosen, pair.rejected), by, template)
        for tree in forest
        for pair in pairs(tree, by, margin)
        for wanted in (pair.chosen, pair.rejected)
    )


def _relabelled(tree: Tree, wanted: Node, both: tuple[Node, Node], by: str, template: str) -> Tree:
    goal = wanted.value(by)
    assert goal is not None
    made = only(tree, both)
    made.root.text, made.root.token_ids = asking(tree.prompt, goal, template), None
    made.meta["goal"] = goal
    for node in made.walk():
        node.logprobs, node.streams = None, {}
    for leaf in made.leaves():
        leaf.scores["preference"] = Score(float(leaf.value(by) == goal))
    return made
