"""DITTO's comparisons: a few demonstrations beat whatever the policy writes, and newer checkpoints beat older ones.

Shaikh et al. 2024 (arXiv 2406.00888), algorithm 1: from `D_E > D_t > D_t-1 > ... > D_0` a batch draws 70 % online
comparisons (a demonstration beats a sample of the policy as it is), 20 % replay (it beats a sample of an older
checkpoint) and 10 % between checkpoints (a newer one's sample beats an older one's). DPO on them, measured from the
policy that was fine-tuned on the demonstrations; then new samples, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from espalier.curation.take import only
from espalier.trees import Forest, Node, Score, Tree

ONLINE, REPLAY, BETWEEN = 0.7, 0.2, 0.1


def demonstrated_pairs(
    demonstrations: Forest,
    rounds: Sequence[Forest],
    count: int,
    mixture: tuple[float, float, float] = (ONLINE, REPLAY, BETWEEN),
    seed: int = 0,
) -> Forest:
    """This many trees of two responses, by "preference".

    With samples of one checkpoint only, all comparisons are online.

    Args:
        demonstrations: prompts with their demonstrations as leaves.
        rounds: samples of each checkpoint for the same prompts in the same order, the oldest first.
        mixture: shares of online, replay and between-checkpoint comparisons.

    Raises:
        ValueError: no rounds, or a round that has not the demonstrations' prompts.
    """
    prompts = [tree.prompt for tree in demonstrations]
    if not rounds or any([tree.prompt for tree in forest] != prompts for forest in rounds):
        raise ValueError("every round needs samples for the prompts of the demonstrations, in their order")
    rng, last, found = np.random.default_rng(seed), len(rounds) - 1, []

    def leaf(forest: Forest, prompt: int) -> tuple[Tree, Node]:
        leaves = forest[prompt].leaves()
        return forest[prompt], leaves[rng.integers(len(leaves))]

    for _ in range(count):
        prompt, kind = int(rng.integers(len(prompts))), rng.choice(3, p=np.array(mixture) / sum(mixture))
        old = int(rng.integers(last)) if kind > 0 and last else last
        better = rounds[int(rng.integers(old + 1, last + 1))] if kind == 2 and last else demonstrations
        found.append(_beside(leaf(better, prompt), leaf(rounds[old], prompt)))
    return Forest(found)


def _beside(better: tuple[Tree, Node], worse: tuple[Tree, Node]) -> Tree:
    """One tree with both responses: that of the worse, with the better's first segment hung on its prompt."""
    pair, other = only(worse[0], [worse[1]]), only(better[0], [better[1]])
    pair.leaves()[0].scores["preference"] = Score(0.0)
    other.leaves()[0].scores["preference"] = Score(1.0)
    pair.root.add(other.root.children[0].detach())
    return pair
