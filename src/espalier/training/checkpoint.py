"""Checkpoints: written aside, then renamed, so that what has a name is whole; as safetensors only.

A checkpoint holds the trainable weights, AdamW's moments, the step, and those of a reference that follows the policy.
Random numbers and the data's order are functions of the seed and the step, so nothing else is needed for an exact
resume.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from espalier.errors import TrainingError
from espalier.training.reference import Follower

NAME = re.compile(r"step-(\d+)")


def save_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: int,
    follower: Follower | None = None,
) -> Path:
    """Write `folder/step-N` whole or not at all, then remove all but the newest `keep`.

    Raises:
        TrainingError: it could not be written (a full disk, say); older checkpoints are untouched.
    """
    final = folder / f"step-{step}"
    aside = folder / f"step-{step}.tmp"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file(_trainable(model), aside / "weights.safetensors")
        save_file(_moments(model, optimizer), aside / "optimizer.safetensors")
        if follower is not None:
            save_file(follower.state(), aside / "reference.safetensors")
        (aside / "state.json").write_text(json.dumps({"step": step}))
        for file in aside.iterdir():
            _sync(file)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(aside, final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(
            f"{final}: the checkpoint could not be written: {error}; older ones are untouched"
        ) from error
    for number in checkpoints(folder)[:-keep]:
        shutil.rmtree(folder / f"step-{number}", ignore_errors=True)
    return final


def checkpoints(folder: Path) -> list[int]:
    """The steps that have a whole checkpoint, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for entry in folder.iterdir() if (match := NAME.fullmatch(entry.name)))


def load_checkpoint(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    follower: Follower | None = None,
) -> None:
    """Put the weights and moments of `folder/step-N` into `model` and `optimizer`, and a following reference in place.

    Raises:
        TrainingError: the checkpoint is of another model.
    """
    where = folder / f"step-{step}"
    put_weights(model, load_file(where / "weights.safetensors"), where)
    if follower is not None:
        follower.load(load_file(where / "reference.safetensors"))
    moments = load_file(where / "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and f"{name}|exp_avg" in moments:
            optimizer.state[parameter] = {
                key: moments[f"{name}|{key}"].to("cpu" if key == "step" else parameter.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }


def put_weights(model: nn.Module, saved: dict[str, Tensor], where: Path) -> None:
    """Copy `saved` into the trainable weights of `model`; the names must be the same."""
    mine = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if mine.keys() != saved.keys():
        differ = sorted(mine.keys() ^ saved.keys())
        raise TrainingError(f"{where}: holds another model's weights; these names differ: {', '.join(differ[:5])}")
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(saved[name])


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}


def _moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}|{key}": value.detach().cpu().contiguous()
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def _sync(path: Path) -> None:
    """Have the disk hold it before the rename says that it does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
