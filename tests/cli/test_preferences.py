"""`espalier train online-dpo`: prompts and a scorer in, a run folder out, and a resume by that folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.cli.train import train
from espalier.errors import ConfigError
from espalier.training import read_metrics
from tests.tiny import config

TINY = config("llama", 32, max_position_embeddings=64)
SETTINGS = ["model.tokenizer=char", "training.batch_size=4", "recipe.n=4", "recipe.max_tokens=8", "recipe.loss=ipo"]
MORE = ["recipe.settings.tau=0.1", "recipe.reference=average", "recipe.offline=0.25", "training.steps=3"]


def test_online_dpo_takes_prompts_pairs_and_a_scorer_and_is_resumed_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    rows = [{"prompt": f"{i}+1=", "chosen": f"{i + 1}", "rejected": "ten or so"} for i in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"init": str(tmp_path / "tiny.json"), "data": str(tmp_path / "pairs.jsonl"), "assign": SETTINGS + MORE}
    with pytest.raises(ConfigError, match="needs --scorer"):
        train("online-dpo", out=tmp_path / "run", **given)
    train("online-dpo", out=tmp_path / "run", scorer="format:.{0,4}", **given)
    whole = read_metrics(tmp_path / "run")
    assert len(whole) == 3
    assert all(row["off_policy"] > 0 for row in whole)
    assert 'id="preferences"' in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "run" / "checkpoints").rename(tmp_path / "lost")
    train("online-dpo", out=tmp_path / "run", resume=True)
    assert read_metrics(tmp_path / "run") == whole
