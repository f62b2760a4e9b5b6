"""`espalier score --scorer reference:MODEL`, and training that finds the log-probs there."""

from __future__ import annotations

import json

import pytest

from espalier.cli.forests import score
from espalier.cli.train import train
from espalier.cli.view import view
from espalier.errors import EspalierError
from espalier.models import from_config, train_tokenizer
from espalier.training import read_metrics
from espalier.trees import open_forest
from tests.tiny import config

CONFIG = config("llama", max_position_embeddings=32)


def test_an_annotated_forest_is_written_and_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = from_config(CONFIG, train_tokenizer(["0123456789+="], kind="char"))
    model.save("model")
    rows = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": "0"} for i in range(1, 7)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score("pairs.jsonl", scorer="reference:model", out=tmp_path / "annotated")
    assert "stream 'logprobs:" in capsys.readouterr().out
    names = {name for leaf in open_forest("annotated").leaves() for name in leaf.streams}
    assert len(names) == 1
    training = ["training.steps=3", "training.batch_size=2"]
    train("dpo", model="model", data="annotated", out=tmp_path / "run", assign=training)
    assert "reference log-probs" not in capsys.readouterr().err
    kept = open_forest(tmp_path / "run" / "trees" / "reference.parquet")
    assert {name for leaf in kept.leaves() for name in leaf.streams} == names
    assert len(read_metrics(tmp_path / "run")) == 3
    with pytest.raises(EspalierError, match="already holds"):
        score("pairs.jsonl", scorer="reference:model", out=tmp_path / "annotated")


def test_a_forest_gets_a_models_view_of_every_token(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from_config(CONFIG, train_tokenizer(["0123456789+="], kind="char")).save("model")
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "1+1=", "chosen": "2", "rejected": "11"}) + "\n")
    score("pairs.jsonl", scorer="tokens:model", out=tmp_path / "seen" / "trees")
    assert "9 tokens run" in capsys.readouterr().out
    assert {name for leaf in open_forest("seen/trees").leaves() for name in leaf.streams} == {"ends", "logprob"}
    view(tmp_path / "seen")
    assert 'data-strip="logprob"' in (tmp_path / "seen" / "report.html").read_text()
