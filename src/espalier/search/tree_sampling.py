"""Tree sampling with soft Bellman backup, and its greedy variant (Jain et al. 2025, "Diffusion tree sampling", arXiv
2506.20701), over the steps of a language model.

Every rollout goes down the tree with chances in proportion to exp(value / temperature), draws a new step where a node
has few children for its visits, runs on to an end, and backs the end's score up by

    V(node) = temperature * log mean_children exp(V(child) / temperature).

The values so become the soft values of the target, policy times exp(score / temperature), and more rollouts make a
better sample: nothing learned on the way is thrown away. Language repeats itself, so equal steps are one child here; a
child counts as often as it was drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from espalier.engines.base import Sampling
from espalier.search.aggregate import Extract, best, weighted
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, is_open, roll, stepwise
from espalier.trees import Node, Score, Tree


@dataclass(slots=True, eq=False)
class Soft:
    """What rollouts said of a node: how many passed, and the soft value; None before one came back."""

    visits: int = 0
    value: float | None = None


@dataclass
class TreeSampling(Chunked):
    """`rollouts` descents of a growing tree. The answer is one more draw from it, or where `greedy` the best leaf.

    At the end the scores "visits" and "soft value" are on every node, and `meta["weight"]` of a leaf is its chance
    under the tree's law, the estimate of its probability under the target.

    Attributes:
        rollouts: descents of each tree.
        sampling: how steps are drawn; `max_tokens` is for one step.
        temperature: divides the score; the lower, the more the score decides.
        greedy: search for the best instead of sampling: children are taken by the upper confidence bound
            V + explore * sqrt(log visits of the parent / visits of the child).
        explore: of that bound.
        widening: a node visited N times may have widening * N ** exponent draws.
        exponent: between 0 and 1. With 1 the share of new draws never falls, and the error falls as 1/sqrt(rollouts).
        score: the name of the score of complete responses.
        stop: the string that ends a step; "" for steps of `max_tokens` tokens.
        max_steps: of a response, at most.
        vote: where given, the final answer of a response, and the leaves vote on it with their weights.
    """

    rollouts: int = 32
    sampling: Sampling = field(default_factory=Sampling)
    temperature: float = 1.0
    greedy: bool = False
    explore: float = 1.0
    widening: float = 1.0
    exponent: float = 0.8
    score: str = "value"
    stop: Stops = "\n"
    max_steps: int = 32
    vote: Extract | None = None
    name = "tree-sampling"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        rng, sampling = chunk.rng(self.sampling.seed), stepwise(self.sampling, self.stop)
        told = [{tree.root: Soft()} for tree in chunk.trees]
        for _ in range(self.rollouts):
            pairs = zip(chunk.trees, told, strict=True)
            places = [self._descend(tree.root, of, rng, sampling) for tree, of in pairs]
            before = sum(each.generated for each in chunk.spent)
            ends = [end for [end] in roll(chunk, [[node] for node in places], self.max_steps, sampling)]
            if before < sum(each.generated for each in chunk.spent):
                chunk.score(self.score, of=[[end] if end.parent is not None else [] for end in ends])
            elif all(chunk.cut):
                break
            for end, of in zip(ends, told, strict=True):
                self._back_up(end, of)
        return [self._answer(tree, of, rng) for tree, of in zip(chunk.trees, told, strict=True)]

    def _descend(self, node: Node, told: dict[Node, Soft], rng: np.random.Generator, sampling: Sampling) -> Node:
        """The node to go on from: one that may have another child, or an end."""
        while is_open(node, sampling):
            visits = told[node].visits if node in told else 0
            children = [child for child in node.children if child in told and told[child].value is not None]
            if not children or sum(map(_draws, node.children)) < self.widening * (visits + 1) ** self.exponent:
                break
            if self.greedy:
                node = max(children, key=lambda child: self._bound(told[child], visits))
            else:
                node = children[rng.choice(len(children), p=self._law(children, told))]
        return node

    def _bound(self, soft: Soft, visits: int) -> float:
        assert soft.value is not None
        return soft.value + self.explore * math.sqrt(math.log(max(visits, 1)) / soft.visits)

    def _law(self, children: Sequence[Node], told: dict[Node, Soft]) -> np.ndarray:
        """Each child's chance: its draws times exp(value / temperature)."""
        logits = np.array([math.log(_draws(c)) + (told[c].value or 0.0) / self.temperature for c in children])
        mass = np.exp(logits - logits.max())
        return mass / mass.sum()

    def _back_up(self, end: Node, told: dict[Node, Soft]) -> None:
        value = end.value(self.score)
        for node in reversed(end.path()):
            soft = told.setdefault(node, Soft())
            soft.visits += 1
            if node is end:
                soft.value = value
                continue
            known = [(_draws(c), told[c].value) for c in node.children if c in told and told[c].value is not None]
            if known:
                draws, values = (np.array(side, dtype=float) for side in zip(*known, strict=True))
                top = values.max()
                mean = draws @ np.exp((values - top) / self.temperature) / draws.sum()
                soft.value = float(top + self.temperature * math.log(mean))

    def _answer(self, tree: Tree, told: dict[Node, Soft], rng: np.random.Generator) -> Node | None:
        """Write what was learned on the nodes, and choose."""
        chances = {tree.root: 1.0}
        for node in tree.walk():
            if node in told:
                node.scores["visits"] = Score(float(told[node].visits))
                if (soft := told[node].value) is not None:
                    node.scores["soft value"] = Score(soft)
            children = [child for child in node.children if child in told and told[child].value is not None]
            if children:
                law = self._law(children, told)
                chances |= {child: chances.get(node, 0.0) * p for child, p in zip(children, law.tolist(), strict=True)}
        leaves = [leaf for leaf in tree.leaves() if leaf in chances]
        for leaf in leaves:
            leaf.meta["weight"] = chances[leaf]
            leaf.scores["weight"] = Score(chances[leaf])
        if self.greedy or not leaves:
            return best(leaves, self.score)
        if self.vote is not None:
            return weighted(leaves, self.vote, "weight")
        return leaves[rng.choice(len(leaves), p=np.array([chances[leaf] for leaf in leaves]))]


def _draws(node: Node) -> int:
    draws: int = node.meta.get("draws", 1)
    return draws
