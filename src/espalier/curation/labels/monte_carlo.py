"""The label of a step is how often one gets from it to the right answer (Wang et al. 2023, Math-Shepherd).

arXiv 2312.08935, section 3.3: the fraction of the completions that are right is the soft estimate, whether there is one
at all the hard one (`Process(label="binary")` reads it off the same label). With `advantage` also how much the step
*changed* the chance: Setlur et al. 2024 (arXiv 2410.08146), where a prover that is not the policy completes.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

from espalier.curation.labels.completer import Ends, estimate, is_open, is_step
from espalier.trees import Node, Score, Tree


@dataclass(frozen=True)
class MonteCarlo:
    """Labels every step of a tree by completions of its own; the last step of a response by the response's outcome.

    Attributes:
        by: the score of a response that says whether it is right: the name of the completer's scorer.
        name: of the label: the fraction of successes, with its spread.
        advantage: write the change from the step before, too, as the score "advantage".
    """

    by: str
    name: str = "label"
    advantage: bool = False

    def __call__(self, tree: Tree) -> Generator[list[Node], Ends, None]:
        steps = [node for node in tree.walk() if is_step(node) and self.name not in node.scores]
        asked = [node for node in ([tree.root] if self.advantage else []) + steps if is_open(node)]
        found = yield asked
        for node, ends in zip(asked, found, strict=True):
            node.scores[self.name] = estimate(ends, self.by)
        for node in steps:
            if not is_open(node):
                node.scores[self.name] = node.scores.get(
                    self.by, Score.absent(f"the response has no score {self.by!r}")
                )
        if self.advantage:
            for node in steps:
                assert node.parent is not None
                node.scores["advantage"] = _change(node.parent.scores.get(self.name), node.scores[self.name])


def _change(before: Score | None, after: Score) -> Score:
    if before is None or before.value is None or after.value is None:
        return Score.absent("the step or the one before it has no label")
    return Score(after.value - before.value, math.hypot(before.spread or 0.0, after.spread or 0.0))
