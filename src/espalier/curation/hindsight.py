"""Chain of hindsight: two responses in one text, each after a word on how good it is, to be learned by likelihood.

    prompt  Bad:  the worse response  Good:  the better response

Liu et al. 2023 (arXiv 2302.02676): a model that has read its outputs beside what they were worth can be asked for a
good one, also after it was shown a bad one. The words of feedback are not learned (their author is "critic"); responses
of both kinds are. They also hide a random share of the past tokens in training, which is the model's affair, and mix in
pretraining data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espalier.trees import Forest, Node, Tree
from espalier.trees.views import pairs

BETTER: Sequence[str] = ("\nGood: ", "\nA helpful answer: ")
WORSE: Sequence[str] = ("\nBad: ", "\nAn unhelpful answer: ")


def hindsight(
    forest: Forest,
    by: str = "preference",
    better: Sequence[str] = BETTER,
    worse: Sequence[str] = WORSE,
    margin: float = 0.0,
    seed: int = 0,
) -> Forest:
    """A tree of one chain for each pair: feedback, response, feedback, response; which comes first is drawn at random.

    Args:
        by: the score that says which response is better.
        better: words before the better response, of which one is drawn for each pair.
        worse: words before the other, the same in number and drawn together with those.
        margin: scores that differ by no more than this make no pair.

    Raises:
        ValueError: not as many words for the better as for the worse.
    """
    if len(better) != len(worse):
        raise ValueError(f"{len(better)} words for the better and {len(worse)} for the worse; expected as many")
    rng, found = np.random.default_rng(seed), []
    for tree in forest:
        for pair in pairs(tree, by, margin):
            which = int(rng.integers(len(better)))
            told = [(worse[which], pair.rejected), (better[which], pair.chosen)]
            found.append(_told(tree, told[:: 1 if rng.random() < 0.5 else -1]))
    return Forest(found)


def _told(tree: Tree, told: Sequence[tuple[str, Node]]) -> Tree:
    made = Tree(
        Node(tree.prompt, "prompt", scores=dict(tree.root.scores), meta=dict(tree.root.meta)), tree.id, dict(tree.meta)
    )
    end = made.root
    for words, leaf in told:
        end = end.add(Node(words, "critic"))
        end = end.add(Node(leaf.response(), leaf.author))
    end.stop = "eos"
    return made
