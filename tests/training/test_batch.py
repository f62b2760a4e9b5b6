"""Micro-batches fill their budget, and hold every tree once."""

import numpy as np
import pytest

from espalier.training.batch import micro_batches
from espalier.trees import Node, Tree


def pairs(count: int) -> list[Tree]:
    """Prompts of 30-300 tokens with two responses of 20-300 each, log-normal."""
    draw = np.random.default_rng(0)

    def lengths(low: int, high: int) -> list[int]:
        return np.exp(draw.normal(np.log((low * high) ** 0.5), 0.6, count)).clip(low, high).astype(int).tolist()

    trees = []
    for sizes in zip(lengths(30, 300), lengths(20, 300), lengths(20, 300), strict=True):
        prompt, *responses = (Node("", "policy", token_ids=[0] * size) for size in sizes)
        for response in responses:
            prompt.add(response)
        trees.append(Tree(prompt))
    return trees


def tokens(trees: list[Tree]) -> int:
    return sum(len(node.token_ids) for tree in trees for node in tree.walk())


@pytest.mark.parametrize(("count", "budget"), [(32, 2048), (64, 2048), (64, 4096), (256, 1536)])
def test_packs_fill_the_budget_but_for_the_last(count, budget):
    trees = pairs(count)
    packs = micro_batches(trees, budget)
    assert all(0.9 * budget <= tokens(pack) <= budget for pack in packs[:-1])
    assert sorted(map(id, trees)) == sorted(id(tree) for pack in packs for tree in pack)
    assert micro_batches(trees, budget) == packs


def test_a_tree_above_the_budget_goes_alone_and_an_order_is_kept_within_packs():
    trees = [Tree(Node("", "policy", token_ids=[0] * size), str(size)) for size in (3, 90, 4, 5)]
    assert [[tree.id for tree in pack] for pack in micro_batches(trees, 50)] == [["90"], ["3", "4", "5"]]
    assert micro_batches([], 50) == []
