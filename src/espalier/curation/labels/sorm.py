"""Synthetic data for stepwise outcome models: can the policy still get there from here?

Havrilla et al. 2024, GLoRe (arXiv 2402.10963), section 3.1 and appendix: a step is positive where some completion of
the policy succeeds and uses the step's result, and then so are the steps before it, for they lead there too. Without
the second condition a wrong step is positive that the policy passes over and does anew.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from espalier.curation.labels.completer import Ends, is_open, is_step
from espalier.trees import Forest, Node, Score, Tree

# Not as in `scorers.answers`, where 12/3 is one number: here 12 was used.
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+")


def result_is_used(step: str, rest: str) -> bool:
    r"""Whether the number that a step's last equation comes to stands in what follows; a step without one passes.

    Signs are not looked at: -3 may be used as 5 - 3.

    >>> result_is_used("3*4=12\n", "2+12=14\n#14"), result_is_used("3*4=13\n", "3*4=12\n2+12=14\n#14")
    (True, False)
    """
    _, equals, after = step.rpartition("=")
    result = _numbers(after)[:1] if equals else []
    return not result or result[0] in _numbers(rest)


@dataclass(frozen=True)
class Sorm:
    """Labels every step 1 or 0.

    Attributes:
        by: the score of a response that says whether it is right: the name of the completer's scorer.
        name: of the label.
        used: whether what follows a step, up to the end of a right response, uses the step's result;
            `lambda step, rest: True` where results need not be written down again.
    """

    by: str
    name: str = "label"
    used: Callable[[str, str], bool] = result_is_used

    def __call__(self, tree: Tree) -> Generator[list[Node], Ends, None]:
        steps = [node for node in tree.walk() if is_step(node) and self.name not in node.scores]
        asked = [node for node in steps if is_open(node)]
        found = dict(zip(asked, (yield asked), strict=True))
        proofs: dict[Node, list[str]] = {}  # what follows a step in the right responses that use its result
        for node in reversed(steps):  # from the ends towards the prompt
            ends = found.get(node, [node])
            outcomes = [(end, value > 0.5) for end in ends if (value := end.value(self.by)) is not None]
            right = [end for end, success in outcomes if success]
            proofs[node] = self._proofs(node, right, proofs) if node in found else [""] * len(right)
            if proofs[node]:
                node.scores[self.name] = Score(1.0)
            else:
                node.scores[self.name] = Score(0.0) if outcomes else Score.absent("no completion could be judged")

    def _proofs(self, node: Node, right: list[Node], proofs: dict[Node, list[str]]) -> list[str]:
        """From the right completions of a step, and from what is known of the steps that follow it."""
        rests = [end.full_text() for end in right]
        for child in node.children:
            labelled = [""] if child.value(self.name) == 1.0 else []  # by an earlier call
            rests += [child.text + rest for rest in proofs.get(child, labelled)]
        return [rest for rest in rests if self.used(node.text, rest)]


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


def _numbers(text: str) -> list[Decimal]:
    return [Decimal(found.replace(",", "")) for found in _NUMBER.findall(text)]
