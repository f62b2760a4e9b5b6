"""`espalier label`: every method writes labels, and a second call labels nothing again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.cli.label import label
from espalier.cli.settings import open_scorer
from espalier.engines import LocalEngine, Sampling
from espalier.errors import ConfigError
from espalier.models import from_config, train_tokenizer
from espalier.trees import open_forest
from espalier.worlds.arithmetic import ALPHABET, Arithmetic
from tests.tiny import config

TINY = config("qwen3", kv_heads=1, head_dim=8)


@pytest.fixture
def room(tmp_path: Path) -> Path:
    model = from_config(TINY, train_tokenizer([ALPHABET], kind="char"))
    model.save(tmp_path / "model")
    forest = Arithmetic(levels=(2,), largest=9).demonstrations(3)
    roots = [tree.root for tree in forest]
    for root, nodes in zip(roots, LocalEngine(model).extend(roots, 2, Sampling(max_tokens=20)), strict=True):
        for node in nodes:  # by a model that has learnt nothing: special tokens are part of its texts
            root.add(node)
    assert any("<|" in leaf.text for leaf in forest.leaves())
    forest.write(tmp_path / "data")
    return tmp_path


@pytest.mark.parametrize("method", ["monte-carlo", "advantage", "sorm", "omega"])
def test_a_method_labels_the_steps_and_goes_on_where_it_was(room: Path, method: str, capsys) -> None:
    given = {"model": str(room / "model"), "scorer": "arithmetic", "n": 2, "max_tokens": 6, "batch": 2}
    for limit in (2, None):
        label(str(room / "data"), out=room / "out", method=method, limit=limit, **given)  # type: ignore[arg-type]
    assert "3 trees labelled" in capsys.readouterr().out
    trees = list(open_forest(room / "out"))
    assert len(trees) == 3
    for tree in trees:
        steps = tree.leaves()[0].path()[1:]
        assert len(steps) == 3
        if method != "omega":  # which found no completion that is right, and so nothing to search
            assert all(node.value("label") is not None for node in steps)
            assert steps[-1].value("label") == 1
        else:
            assert tree.root.value("label") == 0
        assert ("advantage" in steps[0].scores) == (method == "advantage")
    assert json.loads((room / "out" / "labels.json").read_text())["spent"]["generated"] > 0
    with pytest.raises(ConfigError, match="was begun with n = 2, but this call says 3"):
        label(str(room / "data"), out=room / "out", method=method, **(given | {"n": 3}))  # type: ignore[arg-type]


def test_a_scorer_of_steps_is_named_with_how_they_are_combined() -> None:
    scorer = open_scorer("steps:mean:arithmetic")
    assert scorer.name == "correct-mean"
    with pytest.raises(ConfigError, match="min, product, last, mean, sum; found 'most'"):
        open_scorer("steps:most:arithmetic")
