"""Checkpoints: whole or not there."""

import os

import pytest
import torch

from espalier.errors import TrainingError
from espalier.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint


def trained(seed: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    descend(model, optimizer)
    return model, optimizer


def descend(model, optimizer):
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().sum().backward()
    optimizer.step()


def test_a_loaded_checkpoint_continues_bitwise(tmp_path):
    model, optimizer = trained(0)
    save_checkpoint(tmp_path, 7, model, optimizer, keep=2)
    other, its_optimizer = trained(1)
    load_checkpoint(tmp_path, 7, other, its_optimizer)
    descend(model, optimizer)
    descend(other, its_optimizer)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_only_the_newest_stay_and_a_half_written_one_does_not_count(tmp_path):
    model, optimizer = trained(0)
    (tmp_path / "step-9.tmp").mkdir()
    for step in (2, 4, 10):
        save_checkpoint(tmp_path, step, model, optimizer, keep=2)
    assert checkpoints(tmp_path) == [4, 10]


def test_another_models_checkpoint_is_refused(tmp_path):
    save_checkpoint(tmp_path, 1, *trained(0), keep=1)
    other = torch.nn.Linear(3, 4)
    with pytest.raises(TrainingError, match="another model's weights"):
        load_checkpoint(tmp_path, 1, other, torch.optim.AdamW(other.parameters()))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full to play a full disk")
def test_a_full_disk_is_an_error_and_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    model, optimizer = trained(0)
    save_checkpoint(tmp_path, 1, model, optimizer, keep=1)
    (tmp_path / "step-2.tmp").symlink_to("/dev/full")  # what is written aside meets a full device
    with pytest.raises(TrainingError, match="could not be written"):
        save_checkpoint(tmp_path, 2, model, optimizer, keep=1)
    assert checkpoints(tmp_path) == [1]
