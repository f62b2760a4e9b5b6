"""A whole TRL run: its DPO, reward or SFT trainer on the rows of `pairs.jsonl`, from the data to the trained model.

As it comes: its own settings, but for one epoch, no tracker, no progress bar. At its best: no activation checkpoints,
rows sorted by length, small batches with gradient accumulation up to the same 8 rows a step, fused AdamW, and the model
saved once, without the state of the optimizer.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from benchmarks import workloads as work

TRAINERS = {"dpo": (DPOTrainer, DPOConfig), "reward": (RewardTrainer, RewardConfig), "sft": (SFTTrainer, SFTConfig)}
STEP = 8
"""Rows an optimiser step: TRL's default batch."""


class Train:
    """
    Args:
        best: its best settings, else its defaults.
        batch: rows computed at once, at its best.
        attention: "eager" or "sdpa"; None for its default.
        share: how much of the rows; the rest is left out.
        config: more settings of its config class.
    """

    def __init__(
        self,
        folder: Path,
        recipe: str,
        best: bool = False,
        batch: int = STEP,
        attention: str | None = None,
        share: float = 1.0,
        **config: Any,
    ) -> None:
        self.folder, self.recipe, self.best, self.attention = folder, recipe, best, attention
        rows = work.read_rows(folder / "pairs.jsonl")
        self.rows = rows[: max(1, round(share * len(rows)))]
        self.shape = work.read_shape(folder)
        if best:
            self.rows.sort(key=lambda row: sum(work.length(text) for text in row.values()))
            config |= {
                "gradient_checkpointing": False,
                "per_device_train_batch_size": batch,
                "gradient_accumulation_steps": STEP // batch,
                "train_sampling_strategy": "sequential",
                "save_strategy": "no",
                "optim": "adamw_torch_fused",
            }
        self.config = {"num_train_epochs": 1, "report_to": [], "use_cpu": True, "disable_tqdm": True, **config}
        self.loaded = self.load()

    def load(self) -> torch.nn.Module:
        kind = AutoModelForSequenceClassification if self.recipe == "reward" else AutoModelForCausalLM
        extra = {"num_labels": 1} if self.recipe == "reward" else {}
        if self.attention:
            extra["attn_implementation"] = self.attention
        model = kind.from_pretrained(self.folder / "model", **extra)
        for weight in model.parameters():  # a file that is mapped into memory is read when it is used
            weight.detach().sum()
        return model

    def trainer(self, model: torch.nn.Module, out: Path) -> Any:
        trainer, config = TRAINERS[self.recipe]
        if self.recipe == "sft":
            rows = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in self.rows]
        else:
            rows = self.rows
        return trainer(
            model=model,
            args=config(output_dir=str(out), **self.config),
            train_dataset=Dataset.from_list(rows),
            processing_class=PreTrainedTokenizerFast.from_pretrained(self.folder / "model"),
        )

    def round(self) -> dict[str, Any]:
        model, self.loaded = self.loaded or self.load(), None
        out = self.folder / f"trl-{id(self)}"
        started = time.perf_counter()
        trainer = self.trainer(model, out)
        built = time.perf_counter()
        trainer.train()
        trained = time.perf_counter()
        if self.best:
            trainer.save_model(str(out))
        seconds = time.perf_counter() - started
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        shutil.rmtree(out, ignore_errors=True)
        parts = {"setup": built - started, "train": trained - built, "losses": losses}
        return {"seconds": seconds, **parts, **work.pair_figures(self.rows, self.recipe, self.shape, shared=False)}


class Curve(Train):
    """A few steps on all rows at once, in fp32, with every setting that decides the numbers given."""

    def __init__(self, folder: Path, recipe: str, steps: int, lr: float) -> None:
        rows = len(work.read_rows(folder / "pairs.jsonl"))
        super().__init__(
            folder,
            recipe,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=rows,
            max_steps=steps,
            learning_rate=lr,
            lr_scheduler_type="constant",
            adam_beta1=0.9,
            adam_beta2=0.95,
            adam_epsilon=1e-8,
            weight_decay=0.0,
            max_grad_norm=1.0,
            logging_steps=1,
            save_strategy="no",
        )

    def load(self) -> torch.nn.Module:
        model = super().load()
        if self.recipe == "reward":
            torch.nn.init.zeros_(model.score.weight)  # where Espalier's heads begin
        return model
