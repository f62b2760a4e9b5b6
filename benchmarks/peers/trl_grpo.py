"""GRPO with TRL: seconds of an optimiser step, in which 8 answers to each of 8 prompts are written, judged and learned.

As it comes: its own settings and batch of 8 rows, accumulated to the 64 rows of a step. At its best: no activation
checkpoints, fused AdamW, and whatever else the case's search found. The first step is left out on both sides: it warms.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks import workloads as work

GROUP, ROWS = 8, 64


class Grpo:
    """
    Args:
        steps: that are measured, after one that is not.
        best: its best settings, else its defaults.
        batch: rows computed at once in the update.
        attention: "eager" or "sdpa"; None for its default.
        config: more settings of `GRPOConfig`.
    """

    def __init__(
        self,
        folder: Path,
        max_tokens: int,
        lr: float,
        steps: int = 2,
        best: bool = False,
        batch: int = 8,
        attention: str | None = None,
        **config: Any,
    ) -> None:
        self.folder, self.steps = folder, steps
        self.rows = work.read_rows(folder / "prompts.jsonl")[: (steps + 1) * ROWS // GROUP]
        self.options = {"attn_implementation": attention} if attention else {}
        if best:
            config = {"gradient_checkpointing": False, "optim": "adamw_torch_fused", **config}
        self.config = {
            "max_steps": steps + 1,
            "max_completion_length": max_tokens,
            "num_generations": GROUP,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": ROWS // batch,
            "learning_rate": lr,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            **config,
        }
        self.written: list[int] = []

    def reward(self, completions: list[str], answer: list[str], **columns: Any) -> list[float]:
        self.written.append(sum(map(len, columns["completion_ids"])))
        return [work.closeness(text, right) for text, right in zip(completions, answer, strict=True)]

    def round(self) -> dict[str, float]:
        out, clock = self.folder / f"trl-{id(self)}", Clock()
        self.written.clear()
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(self.folder / "model", **self.options),
            reward_funcs=self.reward,
            args=GRPOConfig(output_dir=str(out), **self.config),
            train_dataset=Dataset.from_list(self.rows),
            processing_class=PreTrainedTokenizerFast.from_pretrained(self.folder / "model", padding_side="left"),
            callbacks=[clock],
        )
        trainer.train()
        shutil.rmtree(out, ignore_errors=True)
        return {
            "seconds": clock.ends[-1] - clock.ends[0],
            "steps": self.steps,
            "tokens": sum(self.written[-self.steps :]),
            "first": clock.ends[0] - clock.start,
        }


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.start, self.ends = time.perf_counter(), list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())
