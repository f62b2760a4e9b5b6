"""Sampling with `transformers`: `model.generate`, and the continuous batching that it also has (`generate_batch`).

As it comes is what its documentation shows: load, pad the prompts on the left, call `generate` with `do_sample`, all
rows at once (`Generate(batch=0)`) or prompt by prompt (`batch=1`). At its best the prompts are sorted by length and cut
into batches whose size a search has found.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.generation import ContinuousBatchingConfig

from benchmarks.workloads import read_rows


class Generate:
    """`model.generate` on left-padded batches.

    Args:
        batch: prompts a call; 0 for all of them.
        ordered: sort the prompts by length first.
        options: more of the generation config, such as `top_k=0` or `cache_implementation="static"`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        n: int,
        max_tokens: int,
        batch: int = 0,
        ordered: bool = False,
        dtype: str = "float32",
        attention: str = "sdpa",
        **options: Any,
    ) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model", padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(
            folder / "model", dtype=getattr(torch, dtype), attn_implementation=attention
        ).eval()
        self.prompts = [row["prompt"] for row in read_rows(folder / "prompts.jsonl")]
        self.batch = batch or len(self.prompts)
        self.ordered = ordered
        self.n = n
        self.options = {"do_sample": True, "max_new_tokens": max_tokens, "num_return_sequences": n, **options}

    def round(self) -> dict[str, float]:
        start = time.perf_counter()
        prompts = self.prompts
        if self.ordered:
            prompts = sorted(prompts, key=lambda prompt: len(self.tokenizer(prompt).input_ids))
        tokens = 0
        for begin in range(0, len(prompts), self.batch):
            inputs = self.tokenizer(prompts[begin : begin + self.batch], return_tensors="pt", padding=True)
            inputs.pop("token_type_ids", None)
            rows = self.model.generate(**inputs, **self.options)[:, inputs["input_ids"].shape[1] :]
            self.tokenizer.batch_decode(rows, skip_special_tokens=True)
            ended = (rows == self.tokenizer.eos_token_id).int().cumsum(1)
            tokens += int((ended - (rows == self.tokenizer.eos_token_id).int() == 0).sum())
        return {"seconds": time.perf_counter() - start, "tokens": tokens}


class GenerateBatch(Generate):
    """`model.generate_batch`: continuous batching over a paged cache."""

    def __init__(self, folder: Path, *, paging: dict[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.paging = ContinuousBatchingConfig(**(paging or {}))

    def round(self) -> dict[str, float]:
        start = time.perf_counter()
        inputs = [ids for ids in self.tokenizer(self.prompts).input_ids for _ in range(self.n)]
        config = self.model.generation_config
        config.update(**{**self.options, "num_return_sequences": 1})
        outputs = self.model.generate_batch(inputs, generation_config=config, continuous_batching_config=self.paging)
        rows = [output.generated_tokens for output in outputs.values()]
        self.tokenizer.batch_decode(rows, skip_special_tokens=True)
        return {"seconds": time.perf_counter() - start, "tokens": sum(map(len, rows))}
