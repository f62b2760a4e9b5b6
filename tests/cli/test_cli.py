"""The commands as a person types them: real processes, real files, one folder from prompts to an audited model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espalier.trees import open_forest
from espalier.worlds.arithmetic import Arithmetic
from tests.tiny import config

TINY = config("qwen3", 32, 2, 1, head_dim=16, max_position_embeddings=256)


def espalier(*words: object, cwd: Path, code: int = 0) -> str:
    """Run the command in `cwd`, check its exit code, and return what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "espalier", *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert code == 0 or "Traceback" not in printed, printed
    return printed


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, demonstrations, problems and labelled answers."""
    folder = tmp_path_factory.mktemp("room")
    world = Arithmetic(levels=(1,), largest=9)
    (folder / "tiny.json").write_text(json.dumps(TINY))
    demonstrations = world.demonstrations(60)
    rows = {"demos": [], "problems": [], "labelled": []}
    for i, tree in enumerate(demonstrations):
        right = tree.leaves()[0].text
        rows["demos"].append({"prompt": tree.prompt, "completion": right})
        rows["problems"].append({"prompt": tree.prompt, "answer": tree.meta["answer"], "id": f"p{i}"})
        for text, label in ((right, True), (right + "0", False)):
            rows["labelled"].append({"task": tree.prompt, "reply": text, "ok": label})
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    espalier(
        *("train", "sft", "--init", "tiny.json", "--data", "demos.jsonl", "--out", "sft"),
        *("--set", "training.steps=200", "training.batch_size=16", "training.lr=5e-3", "model.tokenizer=char"),
        cwd=folder,
    )
    return folder


@pytest.mark.slow
def test_from_prompts_to_an_audited_model(room):
    values = espalier(
        *("train", "value", "--model", "sft/model", "--data", "labelled.jsonl", "--out", "value"),
        *("--columns", "prompt=task", "completion=reply", "label=ok", "--held-out", "0.3"),
        *("--set", "training.steps=30", "training.batch_size=16", "training.lr=3e-3"),
        cwd=room,
    )
    assert "AUC" in values
    assert (room / "value" / "report.html").exists()

    sampling = ("--model", "sft/model", "--data", "problems.jsonl", "--max-tokens", "16", "-n", "4")
    espalier("sample", *sampling, "--out", "samples", cwd=room)
    assert len(open_forest(room / "samples")) == 60
    before = [leaf.text for leaf in open_forest(room / "samples").leaves()]
    espalier("sample", *sampling, "--out", "samples", cwd=room)  # all done already: nothing is sampled twice
    assert [leaf.text for leaf in open_forest(room / "samples").leaves()] == before

    warmer = espalier("sample", *sampling, "--temperature", "2", "--out", "samples", cwd=room, code=2)
    assert "was begun with temperature = 1.0" in warmer  # two policies never mix in one forest

    espalier("score", "samples", "--scorer", "arithmetic", "--out", "judged", cwd=room)
    espalier("score", "judged", "--scorer", "value/model", "--out", "valued", cwd=room)
    leaf = next(open_forest(room / "valued").leaves())
    assert set(leaf.scores) == {"correct", "value"}
    assert "auc" in espalier("audit", "scorer", "valued", "--out", "audit", cwd=room)
    assert "after - before" in espalier("audit", "policy", "judged", "valued", "--k", "1", "4", cwd=room)

    table = espalier(
        *("search", *sampling, "--strategy", "beam", "--scorer", "value/model", "--verifier", "arithmetic"),
        *("--width", "2", "--out", "beam", "--limit", "10"),
        cwd=room,
    )
    assert "tokens generated" in table
    assert len(open_forest(room / "beam")) == 10
    assert "└─" in espalier("view", "beam", "--tree", "3", cwd=room)
    assert "report.html" in espalier("view", "sft", cwd=room)

    trained = espalier(
        *("train", "grpo", "--model", "sft/model", "--data", "problems.jsonl", "--out", "grpo"),
        *("--scorer", "arithmetic", "--set", "training.steps=2", "training.batch_size=4", "recipe.max_tokens=16"),
        cwd=room,
    )
    assert "report.html" in trained


def test_what_is_wrong_is_said_in_one_line_with_what_to_do(room):
    def error(*words: object) -> str:
        return espalier(*words, cwd=room, code=2)

    base = ("train", "sft", "--model", "sft/model", "--data", "demos.jsonl", "--out", "bad")
    assert "unknown key 'betta'" in error(*base, "--set", "recipe.betta=1")
    assert "unknown key 'lrr'" in error(*base, "--set", "training.lrr=1")
    assert "unknown key 'modle'" in error(*base, "--set", "modle.path=x")
    assert "holds a run already" in error(
        "train", "sft", "--model", "sft/model", "--data", "demos.jsonl", "--out", "sft"
    )
    assert "--init" in error("train", "sft", "--data", "demos.jsonl", "--out", "bad")
    assert "--scorer" in error("train", "grpo", "--model", "sft/model", "--data", "problems.jsonl", "--out", "bad")
    assert "needs --scorer" in error("search", "--model", "sft/model", "--data", "problems.jsonl", "--out", "bad")
    (room / "empty.jsonl").write_text("")
    assert "empty.jsonl" in error("train", "sft", "--model", "sft/model", "--data", "empty.jsonl", "--out", "bad")
    (room / "hollow").mkdir(exist_ok=True)
    (room / "hollow" / "config.json").write_text(json.dumps(TINY))
    assert "safetensors" in error("sample", "--model", "hollow", "--data", "problems.jsonl", "--out", "bad")
    (room / "long.jsonl").write_text(json.dumps({"prompt": "1+" * 200 + "1=\n"}))
    assert "256" in error("sample", "--model", "sft/model", "--data", "long.jsonl", "--out", "bad2")
    (room / "tall.jsonl").write_text(json.dumps({"prompt": "1+" * 200 + "1=\n", "completion": "201"}))
    too_long = error("train", "sft", "--model", "sft/model", "--data", "tall.jsonl", "--out", "bad3")
    assert "tree 'tall:1'" in too_long
    assert "context 256" in too_long


def test_malformed_json_deep_in_a_file_names_the_line_and_can_be_skipped(room):
    lines = (room / "demos.jsonl").read_text().splitlines()
    many = (lines * 20)[:1100]
    many[999] = many[999][:-5]
    (room / "broken.jsonl").write_text("\n".join(many) + "\n")
    base = ("train", "sft", "--model", "sft/model", "--data", "broken.jsonl", "--set", "training.steps=1")
    assert "broken.jsonl, line 1000" in espalier(*base, "--out", "broken", cwd=room, code=2)
    printed = espalier(*base, "data.on_error=skip", "--out", "skipped", cwd=room)
    assert "skipped 1 rows" in printed
    assert "line 1000" in printed


def test_a_null_completion_names_its_line_and_the_files_own_field(room):
    rows = [json.loads(line) for line in (room / "labelled.jsonl").read_text().splitlines()]
    rows[6]["reply"] = None
    (room / "hole.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = espalier(
        *("train", "value", "--model", "sft/model", "--data", "hole.jsonl", "--out", "hole"),
        *("--columns", "prompt=task", "completion=reply", "label=ok"),
        cwd=room,
        code=2,
    )
    assert "hole.jsonl, line 7, field 'reply': found null, expected a string" in said
    assert not (room / "hole").exists()


@pytest.mark.slow
def test_sampling_killed_in_the_middle_goes_on_with_each_tree_once_and_as_if_nothing_had_happened(room):
    lines = (room / "problems.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "id": f"{i}-{j}"} for i in range(8) for j, line in enumerate(lines)]
    (room / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("sample", "--model", "sft/model", "--data", "many.jsonl", "-n", "4", "--max-tokens", "12", "--out")
    espalier(*command, "whole", cwd=room)
    killed = subprocess.Popen([sys.executable, "-m", "espalier", *command, "killed"], cwd=room, stderr=subprocess.PIPE)
    while not list((room / "killed").glob("part-*.parquet")):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.002)
    killed.kill()
    killed.communicate()
    assert 0 < len(open_forest(room / "killed")) < len(rows)
    espalier(*command, "killed", cwd=room)
    whole, found = ([(t.id, [n.text for n in t.leaves()]) for t in open_forest(room / n)] for n in ("whole", "killed"))
    assert [tree_id for tree_id, _ in found] == [row["id"] for row in rows]
    assert found == whole


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_resume_finishes(room):
    command = [sys.executable, "-m", "espalier", "train", "sft", "--model", "sft/model", "--data", "demos.jsonl"]
    command += ["--out", "stopped", "--set", "training.steps=400"]
    process = subprocess.Popen(command, cwd=room, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = room / "stopped" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 130, printed
    assert "--resume" in printed
    espalier("train", "sft", "--out", "stopped", "--resume", cwd=room)
    assert metrics.read_text().count("\n") == 400


@pytest.mark.slow
def test_the_demo_runs_from_end_to_end_and_a_second_call_loads_what_is_finished(tmp_path):
    first = espalier("demo", "--small", "--out", "demo", cwd=tmp_path)
    for row in ("start: greedy", "start: majority @8", "start: value vote @8", "start: value beam", "RL: greedy"):
        assert row in first
    report = (tmp_path / "demo" / "report.html").read_text()
    assert "value-guided beam - majority vote" in report
    again = espalier("demo", "--small", "--out", "demo", cwd=tmp_path)
    assert "train" not in again

    def table(printed: str) -> list[list[str]]:
        return [
            line.split()[:-2] for line in printed.splitlines() if line.startswith(("start:", "RL:")) and "%" in line
        ]

    assert table(again) == table(first) != []


def test_help_shows_an_example_for_every_command(room):
    for words in ("demo", "train", "sample", "score", "search", "audit scorer", "audit policy", "view"):
        printed = espalier(*words.split(), "--help", cwd=room)
        assert f"espalier {words}" in printed.partition("For example")[2], words
