"""Scoring with `transformers`: padded batches through a model with a scalar head."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, PreTrainedTokenizerFast

from benchmarks import workloads as work

KINDS = {"reward": AutoModelForSequenceClassification, "value": AutoModelForTokenClassification}


class Score:
    """
    Args:
        head: "reward" scores whole responses, "value" each of their tokens.
        batch: responses a pass.
    """

    def __init__(self, folder: Path, head: str, batch: int, dtype: str = "float32", attention: str = "sdpa") -> None:
        self.rows, self.batch = work.read_rows(folder / "responses.jsonl"), batch
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "model")
        self.model = (
            KINDS[head]
            .from_pretrained(folder / "model", num_labels=1, dtype=getattr(torch, dtype), attn_implementation=attention)
            .eval()
        )

    def round(self) -> dict[str, float]:
        start = time.perf_counter()
        texts = [f"{row['prompt']}{row['completion']} {work.EOS}" for row in self.rows]
        texts.sort(key=len)
        scored = 0
        with torch.inference_mode():
            for begin in range(0, len(texts), self.batch):
                inputs = self.tokenizer(texts[begin : begin + self.batch], return_tensors="pt", padding=True)
                inputs.pop("token_type_ids", None)
                scored += len(self.model(**inputs, use_cache=False).logits.float().tolist())
        return {
            "seconds": time.perf_counter() - start,
            "tokens": work.scored_tokens(self.rows),
            "scored": scored,
        }
