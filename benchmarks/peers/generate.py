"""Sampling with `transformers`: `model.generate`, and the continuous batching that it also has (`generate_batch`).

As it comes is what its documentation shows: load, pad the prompts on the left, call `generate` with `do_sample`, all
prompts at once (`Generate(batch=0)`) or prompt by prompt (`batch=1`). At its best the prompts are sorted by length and
cut into batches whose size a search has found, and the samples of one long prompt share a cache that was filled once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedTokenizerFast
from transformers.generation import ContinuousBatchingConfig

from benchmarks.workloads import length, read_rows


class Generate:
    """`model.generate` on left-padded batches.

    Args:
        n: samples a prompt.
        batch: prompts a call; 0 for all of them.
        rows: samples of a prompt a call; 0 for all of them.
        prefilled: run the prompt once and give its copied cache to `generate`; one prompt a call.
        ordered: sort the prompts by length first.
        share: how much of the prompts; the rest is left out.
        options: more of the generation config, such as `top_k=0` or `cache_implementation="static"`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        n: int,
        max_tokens: int,
        batch: int = 0,
        rows: int = 0,
        prefilled: bool = False,
        ordered: bool = False,
        share: float = 1.0,
        dtype: str = "float32",
        attention: str = "sdpa",
        **options: Any,
    ) -> None:
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model", padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(
            folder / "model", dtype=getattr(torch, dtype), attn_implementation=attention
        ).eval()
        prompts = [row["prompt"] for row in read_rows(folder / "prompts.jsonl")]
        prompts = prompts[: max(1, round(share * len(prompts)))]
        self.prompts = sorted(prompts, key=length) if ordered else prompts
        self.n, self.rows, self.prefilled = n, rows or n, prefilled
        self.batch = batch or len(prompts)
        self.options = {"do_sample": True, "max_new_tokens": max_tokens, **options}

    def round(self) -> dict[str, float]:
        start = time.perf_counter()
        written = [row for prompts in self._batches() for row in self._sample(prompts)]
        self.tokenizer.batch_decode(written, skip_special_tokens=True)
        return {"seconds": time.perf_counter() - start, "tokens": sum(map(len, written))}

    def _batches(self) -> Iterator[list[str]]:
        return (self.prompts[begin : begin + self.batch] for begin in range(0, len(self.prompts), self.batch))

    def _sample(self, prompts: list[str]) -> Iterator[list[int]]:
        """The tokens of each sample, up to its end-of-text token."""
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
        prompt = inputs["input_ids"].shape[1]
        if self.prefilled:
            with torch.inference_mode():
                cache = self.model(inputs["input_ids"][:, :-1], past_key_values=DynamicCache()).past_key_values
            kept = [(layer.keys, layer.values) for layer in cache.layers]
        for begin in range(0, self.n, self.rows):
            count = min(self.rows, self.n - begin)
            if self.prefilled:
                copied = DynamicCache()
                for place, (keys, values) in enumerate(kept):
                    copied.update(keys.repeat(count, 1, 1, 1), values.repeat(count, 1, 1, 1), place)
                repeated = {name: tensor.repeat(count, 1) for name, tensor in inputs.items()}
                found = self.model.generate(**repeated, past_key_values=copied, **self.options)
            else:
                found = self.model.generate(**inputs, num_return_sequences=count, **self.options)
            for row in found[:, prompt:].tolist():
                end = self.tokenizer.eos_token_id
                yield row[: row.index(end) + 1] if end in row else row


class GenerateBatch(Generate):
    """`model.generate_batch`: continuous batching over a paged cache."""

    def __init__(self, folder: Path, *, paging: dict[str, Any] | None = None, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.paging = ContinuousBatchingConfig(**(paging or {}))

    def _sample(self, prompts: list[str]) -> Iterator[list[int]]:
        inputs = [ids for ids in self.tokenizer(prompts).input_ids for _ in range(self.n)]
        config = self.model.generation_config
        config.update(**self.options)
        outputs = self.model.generate_batch(inputs, generation_config=config, continuous_batching_config=self.paging)
        return (output.generated_tokens for output in outputs.values())
