"""The machine: its processor, whether it multiplies bf16 in hardware, and the matrix-product peak it reaches."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from pathlib import Path
from typing import Any

BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16", "svebf16")


def bf16_hardware() -> bool:
    """Whether the processor has bf16 products of its own; where it has not, they are slower than fp32."""
    # Not `espalier.models.numerics.has_bf16`: this file loads without torch and without Espalier, in the process that
    # times the others and in the environments of peers.
    return bool(set(BF16_FLAGS) & set(_info("flags|Features").split()))


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(threads: int) -> dict[str, Any]:
    """For results.json; the peaks are measured now, in a process of their own."""
    from benchmarks.harness import Contestant, Worker

    peaks = {}
    for dtype in ("fp32", *(["bf16"] if bf16_hardware() else [])):
        with tempfile.TemporaryDirectory() as folder:
            peak = Contestant("peak", "benchmarks.ours.peak:Peak", settings={"dtype": dtype})
            with Worker(peak, Path(folder), threads) as worker:
                figures = worker.round()
        peaks[f"{dtype}_gflops"] = figures["flops"] / figures["seconds"] / 1e9
    return {
        "processor": _info("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "threads": threads,
        "bf16_hardware": bf16_hardware(),
        "system": platform.system(),
        **peaks,
    }


def _info(field: str) -> str:
    path = Path("/proc/cpuinfo")
    found = re.search(rf"^(?:{field})\s*:\s*(.*)$", path.read_text(), flags=re.MULTILINE) if path.exists() else None
    return found[1] if found else ""
