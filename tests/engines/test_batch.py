"""Rows that enter where others left, with groups and without: the same samples as one row at a time."""

from __future__ import annotations

import pytest

from espalier.engines import LocalEngine, sharing
from espalier.engines.base import Sampling
from espalier.models import Model
from espalier.trees import Node

SAMPLING = Sampling(max_tokens=24, stop=("7",), seed=3)  # rows end early and late


def texts(engine: LocalEngine) -> list[list[str]]:
    prompts = [Node(text, "prompt") for text in ("12+34+56=", "12+34+51=", "9*", "12+34+56=", "1")]
    return [[node.text for node in nodes] for nodes in engine.extend(prompts, 4, SAMPLING)]


@pytest.mark.parametrize("places", [2, 3, 8, 20])
@pytest.mark.parametrize("group", [0, 20, 1_000_000])
def test_what_is_drawn_does_not_depend_on_how_rows_lie(
    qwen: Model, monkeypatch: pytest.MonkeyPatch, places: int, group: int
) -> None:
    expected = texts(LocalEngine(qwen, batch_size=1))
    monkeypatch.setattr(sharing, "GROUP", group)
    assert texts(LocalEngine(qwen, batch_size=places)) == expected
