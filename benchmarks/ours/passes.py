"""Forward and backward passes alone, over packs of whole trees: what sharing saves, and how near the peak they come."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import torch

import espalier as esp
from benchmarks import workloads as work
from benchmarks.machine import bf16_hardware
from espalier.models import Packed, encode, pack


class Passes:
    """
    Args:
        shared: a prompt is run once for all its responses, else once for each.
        tokens: a pack is closed when the next tree would bring it over so many.
    """

    def __init__(self, folder: Path, shared: bool = True, tokens: int = 2048) -> None:
        self.shape = work.read_shape(folder)
        self.model = esp.load(folder / "model").train()
        trees = list(esp.read(folder / "rows.jsonl").merge())
        encode(trees, self.model.tokenizer)
        self.packs: list[Packed] = []
        group: list[esp.Tree] = []
        for tree in trees:
            if group and len(pack([*group, tree], shared=shared).token_ids) > tokens:
                self.packs.append(pack(group, shared=shared))
                group = []
            group.append(tree)
        self.packs.append(pack(group, shared=shared))

    def round(self) -> dict[str, float]:
        started = time.perf_counter()
        for packed in self.packs:
            with torch.autocast("cpu", torch.bfloat16) if bf16_hardware() else nullcontext():
                logprobs = self.model(packed).logprobs
            logprobs.mean().neg().backward()
        seconds = time.perf_counter() - started
        self.model.zero_grad(set_to_none=True)
        return {"seconds": seconds, **self.work()}

    def work(self) -> dict[str, float]:
        tokens = sum(len(packed.token_ids) for packed in self.packs)
        targets = sum(len(packed.targets) for packed in self.packs)
        looks = sum(int(packed.positions.sum()) + len(packed.positions) for packed in self.packs)
        return {"tokens": tokens, "flops": 3 * self.shape.forward_flops(tokens, looks, targets)}
