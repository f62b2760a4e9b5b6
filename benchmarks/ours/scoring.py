"""Scoring with Espalier: many responses under one prompt, one pass over the tree."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import espalier as esp
from benchmarks import workloads as work

SCORERS = {"reward": esp.RewardScorer, "value": esp.ValueScorer}


class Score:
    """
    Args:
        head: "reward" scores whole responses, "value" each of their steps.
        steps: nodes that a response is cut into.
        scorer: settings of the scorer.
    """

    def __init__(self, folder: Path, head: Literal["reward", "value"], steps: int = 1, **scorer: Any) -> None:
        self.rows, self.steps = work.read_rows(folder / "responses.jsonl"), steps
        self.shape = work.read_shape(folder)
        self.scorer = SCORERS[head](esp.load(folder / "model", head=head), **scorer)

    def forest(self) -> esp.Forest:
        root = esp.Node(self.rows[0]["prompt"], "prompt")
        for row in self.rows:
            node, words = root, row["completion"].split()
            size = -(-len(words) // self.steps)
            for begin in range(0, len(words), size):
                node = node.add(esp.Node(" " + " ".join(words[begin : begin + size])))
            node.stop = "eos"
        return esp.Forest([esp.Tree(root)])

    def round(self) -> dict[str, float]:
        forest = self.forest()
        start = time.perf_counter()
        self.scorer.score(forest)
        seconds = time.perf_counter() - start
        scored = sum(self.scorer.name in node.scores for node in forest.nodes())
        sizes = (work.length(row["completion"]) + 1 for row in self.rows)
        flops = work.forward_flops(self.shape, work.length(self.rows[0]["prompt"]), sizes, targets=False)
        return {"seconds": seconds, "tokens": work.scored_tokens(self.rows), "scored": scored, "flops": flops}
