"""Synthetic data for stepwise outcome models: can the policy still get there from here?

Havrilla et al. 2024, GLoRe (arXiv 2402.10963), section 3.1 and appendix: a step is positive where some completion of
the policy succeeds, and then so is every step before it, for they lead there too. Left out: their check that the result
of a step is used later on, which needs to know what a result is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from espalier.curation.labels.completer import Ends, is_open, is_step, succeeded
from espalier.trees import Forest, Node, Score, Tree


@dataclass(frozen=True)
class Sorm:
    """Labels every step 1 or 0.

    Attributes:
        by: the score of a response that says whether it is right: the name of the completer's scorer.
        name: of the label.
    """

    by: str
    name: str = "label"

    def __call__(self, tree: Tree) -> Generator[list[Node], Ends, None]:
        steps = [node for node in tree.walk() if is_step(node) and self.name not in node.scores]
        asked = [node for node in steps if is_open(node)]
        found = dict(zip(asked, (yield asked), strict=True))
        for node in reversed(steps):  # from the ends towards the prompt
            outcomes = succeeded(found.get(node, [node]), self.by)
            behind = [child.value(self.name) for child in node.children]
            if 1.0 in behind or any(outcomes):
                node.scores[self.name] = Score(1.0)
            else:
                node.scores[self.name] = Score(0.0) if outcomes else Score.absent("no completion could be judged")


def balanced(forest: Forest, name: str = "label", seed: int = 0) -> Forest:
    """A copy in which at every depth as many steps have a label above one half as below; the others lose theirs.

    Early steps are mostly positive and late ones negative; a model should not learn to count steps instead.
    """
    copy = Forest([tree.copy() for tree in forest])
    sides: defaultdict[int, tuple[list[Node], list[Node]]] = defaultdict(lambda: ([], []))
    for node in copy.nodes():
        if (value := node.value(name)) is not None:
            sides[node.depth][value > 0.5].append(node)
    rng = np.random.default_rng(seed)
    for negative, positive in sides.values():
        few = min(len(negative), len(positive))
        for side in (negative, positive):
            for at in rng.permutation(len(side))[few:]:
                del side[at].scores[name]
    return copy
