"""Pairs of real data train through the command that a person types, and the page shows what became of them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import polars as pl
import pytest

from espalier.cli.train import train
from espalier.training import read_metrics
from espalier.trees import pairs, read
from tests.tiny import config

SMALL = config("llama", 32, max_position_embeddings=2048)
SETTINGS = ["training.steps=3", "training.batch_size=4", "training.lr=1e-3", "model.vocab_size=300"]


def run(folder: Path, data: Path, columns: list[str], *settings: str) -> dict[str, float]:
    """The last row of a short run."""
    (folder / "small.json").write_text(json.dumps(SMALL))
    init, out = str(folder / "small.json"), folder / "run"
    train("dpo", out=out, init=init, data=str(data), columns=columns, assign=[*SETTINGS, *settings])
    assert 'id="preferences"' in (out / "report.html").read_text(encoding="utf-8")
    rows = read_metrics(out)
    assert len(rows) == 3
    assert rows[0]["dpo"] == pytest.approx(0.6931, abs=1e-4)
    return rows[-1]


def test_gsm8ks_labelled_solutions(gsm8k: Path, tmp_path: Path) -> None:
    few = tmp_path / "solutions.jsonl"
    with (gsm8k / "model_solutions.jsonl").open(encoding="utf-8") as file:
        few.write_text("".join(islice(file, 32)), encoding="utf-8")
    columns = ["prompt=question", "completion=solution", "label=is_correct", "answer=ground_truth"]
    last = run(tmp_path, few, columns, "recipe.by=label")
    assert last["ranking_bound"] == 1
    assert last["kl_pairs"] > 0
    assert "unseen_mean_logprob" in last


def test_alpaca_evals_judgements(alpaca_eval: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(alpaca_eval / "annotations.parquet")
    for text in ("output", "baseline_output"):
        rows = rows.filter((pl.col("instruction") + pl.col(text)).str.len_chars() < 900)
    few = tmp_path / "judged.parquet"
    rows.filter(pl.col("preference").is_between(0.2, 0.8))[:12].write_parquet(few)
    last = run(tmp_path, few, ["prompt=instruction", "first=output", "second=baseline_output"], "recipe.beta=1.0")
    assert last["ranking_bound"] < 1  # the judge is not sure, and the reference weighs more at this beta


def test_alpaca_evals_judgements_are_the_chances_that_the_leaderboard_averages(alpaca_eval: Path) -> None:
    columns = {"prompt": "instruction", "first": "output", "second": "baseline_output"}
    forest = read(alpaca_eval / "annotations.parquet", columns=columns)
    wins: dict[str, list[float]] = {}
    for tree in forest:
        first, second = tree.leaves()
        wins.setdefault(first.meta["model"], []).append(first.value("preference") or 0.0)
        assert "model" not in second.meta
    board = pl.read_csv(alpaca_eval / "leaderboard.csv")
    rates = dict(zip(board[:, 0], board["win_rate"], strict=True))
    named = set(wins) & set(rates)
    assert len(forest) == 19_316
    assert len(named) >= 20
    for model in named:
        assert 100 * sum(wins[model]) / len(wins[model]) == pytest.approx(rates[model], abs=0.5)
    assert sum(len(pairs(tree)) for tree in forest) > 0.99 * len(forest)
