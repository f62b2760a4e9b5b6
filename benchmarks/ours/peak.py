"""What the processor can do: the fastest of a few large matrix products."""

from __future__ import annotations

import time
from pathlib import Path

import torch

SIZES = ((1024, 1024, 1024), (2048, 768, 2048), (2048, 2048, 2048))


class Peak:
    def __init__(self, folder: Path, dtype: str = "fp32", seconds: float = 1.0) -> None:
        self.seconds = seconds
        kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.work = [(torch.randn(m, k).to(kind), torch.randn(k, n).to(kind)) for m, k, n in SIZES]

    def round(self) -> dict[str, float]:
        """Each size for a while; the figures of the fastest."""
        best = {"flops": 0.0, "seconds": 1.0}
        for a, b in self.work:
            torch.mm(a, b)
            done = 0
            started = time.perf_counter()
            while (took := time.perf_counter() - started) < self.seconds:
                torch.mm(a, b)
                done += 1
            flops = 2.0 * done * a.shape[0] * a.shape[1] * b.shape[1]
            if flops / took > best["flops"] / best["seconds"]:
                best = {"flops": flops, "seconds": took}
        return best
