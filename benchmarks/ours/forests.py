"""A forest read from disk, viewed as methods view it, and written again."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import espalier as esp
from espalier.trees import chains, groups, pairs, steps

STEPS, BRANCHES = 4, 4
NODES = 1 + STEPS * BRANCHES
"""Of a tree: a prompt, and four chains of four steps, each step scored."""


def tree(number: int) -> esp.Tree:
    root = esp.Node(f"problem {number}", "prompt", token_ids=[5, 6, number % 4096])
    for branch in range(BRANCHES):
        node = root
        for step in range(STEPS):
            node = node.add(
                esp.Node(
                    f"step {step} of branch {branch}",
                    "policy",
                    token_ids=[7, 8, 9, step, branch],
                    logprobs=[-0.5, -0.25, -0.125, -1.0, -2.0],
                    scores={"label": esp.Score(float((number + step * branch) % 2))},
                )
            )
        node.stop = "eos"
        node.scores["reward"] = esp.Score(float((number + branch) % 3))
    return esp.Tree(root)


class ReadViewWrite:
    def __init__(self, folder: Path, nodes: int) -> None:
        self.trees = nodes // NODES
        self.path, self.copy = folder / f"forest-{nodes}.parquet", folder / f"copy-{nodes}.parquet"
        with esp.ForestWriter(self.path) as writer:
            for number in range(self.trees):
                writer.write(tree(number))

    def round(self) -> dict[str, float]:
        """Reads all trees into memory, takes pairs, groups, chains and labelled steps of each, and writes them."""
        times = [time.perf_counter()]
        forest = esp.read(self.path).load()
        times.append(time.perf_counter())
        seen = sum(len(group.leaves) for group in groups(forest))
        seen += sum(len(pairs(one, "reward")) + len(chains(one)) + len(steps(one)) for one in forest)
        assert seen
        times.append(time.perf_counter())
        forest.write(self.copy)
        times.append(time.perf_counter())
        parts = dict(zip(("read", "views", "write"), (b - a for a, b in pairwise(times)), strict=True))
        return {"seconds": times[-1] - times[0], "nodes": self.trees * NODES, **parts}
