"""GRPO with Espalier: seconds of a step of `espalier.train`, which learns from 8 answers to each of 8 prompts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import espalier as esp
from benchmarks import workloads as work
from espalier.scorers import Verifier

PROMPTS, GROUP = 8, 8


class Closeness(Verifier):
    """The reward that the peer is given too."""

    def judge(self, node: esp.Node, tree: esp.Tree) -> esp.Score:
        return esp.Score(work.closeness(node.response(), tree.meta["answer"]))


class Grpo:
    """
    Args:
        steps: that are measured, after one that warms.
        training: more of `espalier.Training`, else its defaults.
    """

    def __init__(self, folder: Path, max_tokens: int, lr: float, steps: int = 2, **training: Any) -> None:
        self.folder, self.steps = folder, steps
        self.rows = work.read_rows(folder / "prompts.jsonl")[: (steps + 1) * PROMPTS]
        self.shape = work.read_shape(folder)
        self.recipe = esp.GRPO(n=GROUP, max_tokens=max_tokens)
        self.training = esp.Training(steps=steps + 1, batch_size=PROMPTS, lr=lr, **training)

    def round(self) -> dict[str, float]:
        out = self.folder / f"run-{id(self)}"
        trees = [esp.Tree(esp.Node(row["prompt"], "prompt"), meta={"answer": row["answer"]}) for row in self.rows]
        ends: list[float] = []
        run = esp.train(
            self.recipe,
            esp.load(self.folder / "model"),
            esp.Forest(trees),
            self.training,
            out=out,
            scorer=Closeness("closeness"),
            progress=lambda *_: ends.append(time.perf_counter()),
        )
        lengths = [row["length"] for row in run.metrics[-self.steps :]]
        # Written in one forward pass over the tree, learned from in a forward and a backward pass.
        prompt = work.length(self.rows[0]["prompt"])
        flops = sum(4 * PROMPTS * work.forward_flops(self.shape, prompt, [round(size)] * GROUP) for size in lengths)
        shutil.rmtree(out)
        tokens = sum(lengths) * PROMPTS * GROUP
        return {"seconds": ends[-1] - ends[0], "steps": self.steps, "tokens": tokens, "flops": flops}
