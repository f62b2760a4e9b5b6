"""OmegaPRM: find the first error of wrong responses by binary search, and reuse what was sampled on the way.

Luo et al. 2024 (arXiv 2406.06592), section 3.3. The chance MC(s) to come out right is measured at a state by
completions. A wrong completion of a state with MC > 0 has its first error somewhere on it: half-way, MC is measured
again; above 0 the error comes later, at 0 it has happened. The wrong completions of every state that is visited and has
0 < MC < 1 wait to be searched in turn. Which goes next is chosen as in a tree search: completions that look likely
right and are not teach most, `Q(s, r) = alpha^(1 - MC(s)) * beta^(tokens(r) / length)`, and states that were seldom
chosen get a bonus, `U(s) = c * sqrt(sum of all visits) / (1 + visits(s))`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from espalier.curation.labels.completer import Ends, estimate
from espalier.errors import ConfigError
from espalier.trees import Node, Score, Tree, split_steps


@dataclass(frozen=True)
class Omega:
    """Labels the states that the searches visit with their MC, and hangs the responses that they went over on the tree.

    Wrong responses that the tree has already, as chains of steps, are searched like sampled ones.

    Attributes:
        by: the score of a response that says whether it is right: the name of the completer's scorer.
        name: of the label.
        searches: at most this many binary searches a tree.
        alpha, beta, c: of the choice of the next completion.
        length: tokens after which a completion counts as long; characters where it has no tokens.
        separator: what ends a step.
        decode: token ids to text without special tokens, to cut completions where steps end; see `split_steps`.
    """

    by: str
    name: str = "label"
    searches: int = 8
    alpha: float = 0.5
    beta: float = 0.9
    c: float = 0.125
    length: int = 500
    separator: str = "\n"
    decode: Callable[[list[int]], str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.searches < 1:
            raise ConfigError(f"searches must be at least 1, found {self.searches}")

    def __call__(self, tree: Tree) -> Generator[list[Node], Ends, None]:
        visits, waiting = Counter[Node](), list[tuple[Node, list[Node]]]()

        def measured(state: Node, ends: list[Node]) -> None:
            state.scores[self.name] = estimate(ends, self.by)
            chance = state.value(self.name)
            if chance is not None and 0 < chance < 1:
                waiting.extend((state, end.path()) for end in ends if end.value(self.by) == 0)

        there = [leaf.path()[1:] for leaf in tree.leaves() if leaf.value(self.by) == 0]
        measured(tree.root, (yield [tree.root])[0])
        if tree.root.value(self.name):
            waiting += [(tree.root, chain) for chain in there]
        for _ in range(self.searches):
            if not waiting:
                return
            total = visits.total()
            state, response = waiting.pop(
                max(range(len(waiting)), key=lambda i: self._worth(*waiting[i], visits[waiting[i][0]], total))
            )
            visits[state] += 1
            chain = response if response[0].parent is not None else self._hang(state, response[0])
            chain[-1].scores[self.name] = Score(0.0)
            right, wrong = -1, len(chain) - 1  # the last step known to lead somewhere, the first known not to
            while wrong - right > 1:
                middle = (right + wrong) // 2
                node = chain[middle]
                if self.name not in node.scores:
                    measured(node, (yield [node])[0])
                chance = node.value(self.name)
                if chance is None:  # nobody can tell on which side the error is
                    break
                right, wrong = (middle, wrong) if chance > 0 else (right, middle)

    def _worth(self, state: Node, response: list[Node], visits: int, total: int) -> float:
        chance = state.value(self.name) or 0.0
        size = sum(len(node.text if node.token_ids is None else node.token_ids) for node in response)
        known = self.alpha ** (1 - chance) * self.beta ** (size / self.length)
        return known + self.c * math.sqrt(total) / (1 + visits)

    def _hang(self, state: Node, completion: Node) -> list[Node]:
        """A completion below its state, as a chain of steps."""
        alone = Tree(Node("", "prompt"))
        alone.root.add(completion)
        [step] = split_steps(alone, self.separator, self.decode).root.children
        chain = [state.add(step.detach())]
        while chain[-1].children:
            chain.append(chain[-1].children[0])
        return chain
