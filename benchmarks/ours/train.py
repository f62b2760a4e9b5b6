"""A whole training run as a user starts it: `espalier.train(recipe, model, forest, training)`, run folder included."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import espalier as esp
from benchmarks import workloads as work

RECIPES = {"dpo": esp.DPO, "reward": esp.Reward, "sft": esp.SFT}


class Train:
    """
    Args:
        training: of `espalier.Training`; one epoch in steps of 8 trees, else its defaults.
    """

    def __init__(self, folder: Path, recipe: str, data: str = "pairs.jsonl", **training: Any) -> None:
        self.folder, self.recipe, self.data = folder, recipe, folder / data
        length = {} if "steps" in training else {"epochs": 1}
        self.training = esp.Training(**{"batch_size": 8, **length, **training})
        self.rows = work.read_rows(self.data)
        self.shape = work.read_shape(folder)
        self.loaded: esp.Model | None = self.load()

    def load(self) -> esp.Model:
        model = esp.load(self.folder / "model")
        for weight in model.parameters():  # a file that is mapped into memory is read when it is used
            weight.detach().sum()
        return model

    def forest(self) -> esp.Forest:
        if self.recipe == "sft":
            return esp.read(self.data, format="prompt/completion", columns={"completion": "chosen"})
        return esp.read(self.data)

    def round(self) -> dict[str, Any]:
        model, self.loaded = self.loaded or self.load(), None
        out = self.folder / f"run-{id(self)}"
        started = time.perf_counter()
        run = esp.train(RECIPES[self.recipe](), model, self.forest(), self.training, out=out)
        seconds = time.perf_counter() - started
        losses = [row["loss"] for row in run.metrics]
        shutil.rmtree(out)
        return {"seconds": seconds, "losses": losses, **work.pair_figures(self.rows, self.recipe, self.shape, True)}


class Curve(Train):
    """A few steps on all rows at once, with every setting that decides the numbers given."""

    def __init__(self, folder: Path, recipe: str, steps: int, lr: float, precision: str = "fp32") -> None:
        rows = len(work.read_rows(folder / "pairs.jsonl"))
        super().__init__(
            folder,
            recipe,
            steps=steps,
            batch_size=rows,
            lr=lr,
            schedule="constant",
            warmup=0.0,
            betas=(0.9, 0.95),
            weight_decay=0.0,
            clip=1.0,
            precision=precision,
        )
