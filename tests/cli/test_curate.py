"""`espalier curate` writes the selection with the number that each tree was kept for, and says what a method lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.cli.curate import curate
from espalier.errors import ConfigError
from espalier.models import from_config, train_tokenizer
from espalier.trees import open_forest

CONFIG = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pairs = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": "0" * (i + 1)} for i in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    tokenizer = train_tokenizer(["0123456789+="], kind="char")
    for seed, name in enumerate(("policy", "reference")):
        from_config(CONFIG, tokenizer, seed=seed).save(tmp_path / name)
    return tmp_path


def test_each_method_that_asks_models_keeps_what_it_is_told_to(room: Path) -> None:
    both = {"model": "policy", "reference": "reference"}
    noted = {"small-margin": "margin", "clear": "clear", "color": "color", "d-optimal": "d-optimal"}
    for method, key in noted.items():
        curate("pairs.jsonl", method=method, out=room / method, keep=2, **both)  # type: ignore[arg-type]
        kept = open_forest(room / method)
        assert len(kept) == 2, method
        assert all(key in tree.meta["curation"] for tree in kept)


def test_methods_that_ask_none_need_what_they_go_by(room: Path) -> None:
    (room / "wanted.jsonl").write_text(json.dumps({"prompt": "5+1=", "completion": "6"}) + "\n")
    curate("pairs.jsonl", method="dsir", out=room / "texts", target="wanted.jsonl", keep=0.5)
    assert len(open_forest(room / "texts")) == 3
    curate("pairs.jsonl", method="best-worst", out=room / "pairs", by="preference")
    assert len(open_forest(room / "pairs")) == 6
    for method, missing in (("dsir", "--target"), ("keep-above", "--by"), ("clear", "--reference")):
        with pytest.raises(ConfigError, match=missing):
            curate("pairs.jsonl", method=method, out=room / "none")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="keeps none of 6 trees"):
        curate("pairs.jsonl", method="small-margin", out=room / "none")
