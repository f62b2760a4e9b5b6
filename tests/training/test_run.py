"""A run is a folder in which nothing finished is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from espalier.errors import ConfigError, TrainingError
from espalier.models import load
from espalier.training import DPO, SFT, Training, read_metrics, train
from espalier.training.config import read_toml

SCRIPT = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from espalier.models import from_config, train_tokenizer
    from espalier.training import DPO, GRPO, SFT, Training, train
    from espalier.worlds.arithmetic import ALPHABET, Arithmetic, ArithmeticVerifier
    import torch; torch.set_num_threads(1)

    out, kind, resume = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "resume"
    config = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}  # dropout is on
    model = from_config(config, train_tokenizer([ALPHABET], kind="char"), seed=0)
    world = Arithmetic(levels=(1,), largest=20)
    recipe = {"sft": SFT(), "grpo": GRPO(n=2, max_tokens=6, beta=0.1, updates=2)}[kind]
    steps = {"sft": 30, "grpo": 8}[kind]
    forest = world.demonstrations(40) if kind == "sft" else world.problems(40)
    training = Training(steps=steps, batch_size=4, micro_tokens=60, lr=1e-3, checkpoint_every=3)
    slow = lambda *_: time.sleep(0.02)
    train(recipe, model, forest, training, out=out, scorer=ArithmeticVerifier(), resume=resume, progress=slow)
""")


def start(folder: Path, kind: str, resume: bool) -> subprocess.Popen:
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(script), str(folder), kind, "resume" if resume else "new"]
    return subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)


def rows(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def kill_after(folder: Path, process: subprocess.Popen, count: int, with_signal: int) -> None:
    deadline = time.monotonic() + 120
    while rows(folder) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(with_signal)
    process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "steps"), [("sft", 30), ("grpo", 8)])
def test_killed_at_random_steps_and_resumed_the_metrics_are_bitwise_the_same(tmp_path, kind, steps):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = start(whole, kind, resume=False)
    assert process.wait(timeout=240) == 0, process.stderr.read()
    random.seed()
    for i, at in enumerate(sorted(random.sample(range(1, steps), 3))):
        kill_after(broken, start(broken, kind, resume=i > 0), at, signal.SIGKILL)
    process = start(broken, kind, resume=True)
    assert process.wait(timeout=240) == 0, process.stderr.read()
    assert (broken / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    one, other = load(whole / "model"), load(broken / "model")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.slow
def test_ctrl_c_ends_with_a_checkpoint_at_the_step_in_hand(tmp_path):
    folder = tmp_path / "run"
    process = start(folder, "sft", resume=False)
    kill_after(folder, process, 4, signal.SIGINT)
    assert process.returncode == 0
    done = rows(folder)
    assert 4 <= done < 30
    assert (folder / "checkpoints" / f"step-{done}").is_dir()
    assert not (folder / "model").exists()


def small(**given):
    return Training(**{"steps": 2, "batch_size": 4, "lr": 1e-3, **given})


def test_the_folder_holds_what_the_run_was_told_and_a_model_that_loads(tiny, demonstrations, tmp_path):
    run = train(SFT(), tiny(), demonstrations, small(), out=tmp_path / "run", notes={"data": {"path": "x.jsonl"}})
    assert run.finished
    text = (run.folder / "config.toml").read_text()
    assert 'name = "sft"' in text
    assert 'path = "x.jsonl"' in text
    assert "torch" in text
    again = load(run.folder / "model")
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), again.parameters(), strict=True))
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(run.folder / "model")


def test_a_folder_with_a_run_is_not_overwritten_and_resumes_only_as_it_was(tiny, demonstrations, judged, tmp_path):
    train(SFT(), tiny(), demonstrations, small(), out=tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run already"):
        train(SFT(), tiny(), demonstrations, small(), out=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"training.lr is 0.001, but this run says 0.01"):
        train(SFT(), tiny(), demonstrations, small(lr=1e-2), out=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"recipe.beta"):
        train(DPO(), tiny(), judged, small(), out=tmp_path / "run", resume=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("do not lose me")
    with pytest.raises(ConfigError, match="no run folder"):
        train(SFT(), tiny(), demonstrations, small(), out=tmp_path / "full")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tiny, demonstrations, tmp_path):
    with pytest.raises(TrainingError, match=r"step 1: the loss is (nan|inf).* nothing was updated.*lower training.lr"):
        train(SFT(), tiny(), demonstrations, small(lr=1e30, warmup=0.0), out=tmp_path / "run")
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [0]


def test_a_frozen_model_is_refused(tiny, demonstrations, tmp_path):
    with pytest.raises(TrainingError, match=r"requires_grad_\(True\)"):
        train(SFT(), tiny().copy(), demonstrations, small(), out=tmp_path / "run")


def test_config_records_what_auto_came_to_and_a_resume_goes_on_in_it(tiny, demonstrations, tmp_path):
    train(SFT(), tiny(), demonstrations, small(), out=tmp_path / "run")
    path = tmp_path / "run" / "config.toml"
    assert read_toml(path)["training"]["precision"] == "fp32"  # the model is narrow
    path.write_text(path.read_text().replace('precision = "fp32"', 'precision = "bf16"'))
    with pytest.warns(UserWarning, match="began in bf16 and goes on in it, although this machine would choose fp32"):
        train(SFT(), tiny(), demonstrations, small(), out=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match=r"training.precision is 'bf16', but this run says 'fp32'"):
        train(SFT(), tiny(), demonstrations, small(precision="fp32"), out=tmp_path / "run", resume=True)
