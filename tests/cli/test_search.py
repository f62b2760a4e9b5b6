"""`espalier search --compare`: tables, a page with the curves, and the forests of the picks."""

from __future__ import annotations

import json

import pytest

from espalier.cli.search import search
from espalier.errors import ConfigError
from espalier.models import from_config, train_tokenizer
from espalier.trees import open_forest
from espalier.worlds.arithmetic import ALPHABET, Arithmetic
from tests.tiny import config

CONFIG = config("llama", max_position_embeddings=48)


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder with an untrained policy, an untrained value model, and problems."""
    monkeypatch.chdir(tmp_path)
    model = from_config(CONFIG, train_tokenizer([ALPHABET], kind="char"))
    model.save("model")
    model.add_head("value", link="probability")
    model.save("value", kind="value")
    trees = Arithmetic(levels=(1,), largest=9).problems(6)
    rows = [{"prompt": tree.prompt, "answer": tree.meta["answer"]} for tree in trees]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


COMMON = {"model": "model", "data": "problems.jsonl", "scorer": "value", "verifier": "arithmetic", "max_tokens": 8}


def test_strategies_are_compared_and_the_picks_are_kept(room, capsys):
    names = "majority,beam,mcts,particles"
    search(**COMMON, out=room / "out", compare=names, budgets=[16, 32], prices="8,2,0.5", step_tokens=4)
    said = capsys.readouterr().out
    assert "a right answer (money)" in said
    assert "at 16 tokens a problem: " in said
    page = (room / "out" / "report.html").read_text()
    for name in names.split(","):
        assert f"{name} @32" in page
        assert f'data-name="{name}"' in page
    points = json.loads((room / "out" / "comparison.json").read_text())["points"]
    assert [(point["strategy"], point["budget"]) for point in points[-1:]] == [("particles", 32)]
    kept = [open_forest(path) for path in (room / "out" / "trees").glob("*.parquet")]
    assert [len(forest) for forest in kept] == [6, 6]


def test_one_strategy_keeps_to_its_budget(room, capsys):
    search(**COMMON, out=room / "one", strategy="tree", tokens=20, step_tokens=4)
    assert "the budget ended" in capsys.readouterr().out
    forest = open_forest(room / "one")
    assert all(sum(len(node.token_ids) for node in tree.walk() if node.parent) <= 20 for tree in forest)


def test_what_cannot_be_compared_is_said_before_anything_is_sampled(room):
    with pytest.raises(ConfigError, match="no strategy is called 'beem'; there are greedy"):
        search(**COMMON, out=room / "x", compare="majority,beem", budgets=[8])
    with pytest.raises(ConfigError, match="needs --budgets"):
        search(**COMMON, out=room / "x", compare="majority")
    with pytest.raises(ConfigError, match="--prices '8;2'"):
        search(**COMMON, out=room / "x", strategy="greedy", prices="8;2")
    search(**{**COMMON, "scorer": "self-certainty"}, out=room / "sure", strategy="borda", n=3)
    assert len(open_forest(room / "sure")) == 6
    with pytest.raises(ConfigError, match="mcts needs --scorer"):
        search(model="model", data="problems.jsonl", out=room / "x", strategy="mcts")
