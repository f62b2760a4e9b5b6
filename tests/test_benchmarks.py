"""The benchmarks run: every contestant of ours on every case, and one case through processes and tables."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import harness, table, workloads
from benchmarks.__main__ import every_case, main

CASES = {case.name: case for case in every_case(smoke=True)}


@pytest.mark.parametrize("name", CASES)
def test_our_contestants_make_a_round(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    case.make(tmp_path)
    ours = [contestant for contestant in case.contestants if not contestant.peer]
    assert ours
    for contestant in ours:
        module, _, kind = contestant.where.partition(":")
        made = getattr(importlib.import_module(module), kind)(tmp_path, **contestant.settings).round()
        assert made["seconds"] > 0
        assert case.value({"peak": 1.0, **made}) > 0


@pytest.mark.parametrize("name", CASES)
def test_claims_name_contestants(name: str) -> None:
    names = [contestant.name for contestant in CASES[name].contestants]
    assert len(set(names)) == len(names)
    assert {who for claim in CASES[name].claims for who in (claim.ours, claim.other) if who} <= set(names)


def test_a_case_runs_in_processes_and_becomes_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESPALIER_BENCH_TRL", "")
    out = tmp_path / "results.json"
    assert main(["growth-nodes", "--smoke", "--threads", "1", "--out", str(out)]) == 0
    record = json.loads(out.read_text())["growth-nodes"]
    assert record["contestants"]["large"]["rounds"][0]["nodes"] == pytest.approx(4_000, rel=0.01)
    assert record["machine"]["fp32_gflops"] > 0
    assert "large / small" in capsys.readouterr().out
    assert "| large / small |" in table.markdown({"growth-nodes": record})


def test_an_absent_peer_is_named_and_a_failing_contestant_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESPALIER_BENCH_TRL", "")
    where = "benchmarks.ours.forests:ReadViewWrite"
    case = harness.Case(
        "trial",
        "a trial",
        lambda folder: None,
        [
            harness.Contestant("good", where, settings={"nodes": 100}),
            harness.Contestant("bad", where, settings={"leaves": 100}),
            harness.Contestant("peer", where, "trl"),
        ],
        [harness.Claim("good", "bad", least=1.0)],
        figure=("nodes", "seconds"),
    )
    record = harness.run(case, tmp_path, rounds=2, threads=1)
    assert record["contestants"]["good"]["count"] == 2
    assert "leaves" in record["errors"]["bad"]
    assert record["absent"] == ["peer"]
    assert record["claims"] == []


def test_a_case_that_is_stopped_keeps_the_rounds_it_made(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    words = ["growth-nodes", "--smoke", "--rounds", "1000", "--threads", "1", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "round 2" in line:
            break
    process.terminate()
    said = process.stderr.read()
    assert process.wait() == 130, said
    assert "growth-nodes: stopped" in said
    record = json.loads(out.read_text())["growth-nodes"]
    assert record["stopped"]
    assert all(1 <= contestant["count"] < 1000 for contestant in record["contestants"].values())
    assert record["claims"]


def test_a_ratio_is_of_medians_with_the_range_of_paired_rounds() -> None:
    made = harness.ratio(harness.Claim("a", "b", least=2.0), {"a": [2.0, 4.0, 9.0], "b": [1.0, 2.0, 3.0]})
    assert made == {"ratio": 2.0, "low": 2.0, "high": 3.0, "least": 2.0, "held": True}


def test_loss_curves_are_compared_step_by_step() -> None:
    made = {"a": [{"losses": [1.0, 0.5]}], "b": [{"losses": [1.0, 0.25]}]}
    assert harness.apart(harness.Claim("a", "b", within=0.3), made) == {"largest": 0.25, "within": 0.3, "held": True}


def test_lengths_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    """Both sides of a comparison count words, so each word must be one token and a response must end with another."""
    import espalier as esp
    from espalier.models import encode

    shape = workloads.SHAPES["tiny"]
    workloads.make_model(tmp_path, shape)
    rows = workloads.pairs(5, shape.vocabulary)
    workloads.write_rows(tmp_path / "pairs.jsonl", rows)
    forest = esp.read(tmp_path / "pairs.jsonl")
    encode(forest, esp.load(tmp_path / "model").tokenizer)
    words = workloads.words(shape.vocabulary)
    for row, tree in zip(rows, forest, strict=True):
        texts = [row["prompt"].split(), *([*row[name].split(), workloads.EOS] for name in ("chosen", "rejected"))]
        assert [[words[i] for i in node.token_ids or ()] for node in tree.walk()] == texts
    total = sum(len(node.token_ids or ()) for tree in forest for node in tree.walk())
    assert workloads.pair_figures(rows, "dpo", shape, shared=True)["tokens"] == total


def test_flops_of_the_trunk_are_those_of_its_weights(tmp_path: Path) -> None:
    import espalier as esp

    shape = workloads.SHAPES["tiny"]
    workloads.make_model(tmp_path, shape)
    layers = esp.load(tmp_path / "model").hf.base_model.layers
    assert shape.trunk == sum(weight.numel() for weight in layers.parameters() if weight.ndim == 2)
