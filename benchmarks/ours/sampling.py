"""Sampling with Espalier: one `extend` call for all rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import espalier as esp
from benchmarks import workloads as work


class Extend:
    """`LocalEngine.extend` with its defaults; settings go to the engine."""

    def __init__(self, folder: Path, *, n: int, max_tokens: int, **settings: Any) -> None:
        self.prompts = [row["prompt"] for row in work.read_rows(folder / "prompts.jsonl")]
        self.shape = work.read_shape(folder)
        self.engine = esp.LocalEngine(esp.load(folder / "model"), **settings)
        self.n, self.max_tokens, self.rounds = n, max_tokens, 0

    def round(self) -> dict[str, float]:
        self.rounds += 1
        self.engine.forget()  # what an earlier round computed
        sampling = esp.Sampling(max_tokens=self.max_tokens, seed=self.rounds)
        start = time.perf_counter()
        written = self.engine.extend([esp.Node(prompt, "prompt") for prompt in self.prompts], self.n, sampling)
        seconds = time.perf_counter() - start
        sizes = [[len(node.token_ids or ()) for node in nodes] for nodes in written]
        flops = sum(
            work.forward_flops(self.shape, work.length(prompt), each)
            for prompt, each in zip(self.prompts, sizes, strict=True)
        )
        return {"seconds": seconds, "tokens": sum(map(sum, sizes)), "flops": flops}
