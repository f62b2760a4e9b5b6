"""Rows in cohorts, shared and flat, merged and apart: the same samples as one row at a time."""

from __future__ import annotations

import pytest

from espalier.engines import LocalEngine, batch, sharing
from espalier.engines.base import Sampling
from espalier.engines.cohort import Cohort
from espalier.models import Model
from espalier.trees import Node

SAMPLING = Sampling(max_tokens=24, stop=("7",), seed=3)  # rows end early and late


def texts(engine: LocalEngine) -> list[list[str]]:
    prompts = [Node(text, "prompt") for text in ("12+34+56=", "12+34+51=", "9*", "12+34+56=", "1")]
    return [[node.text for node in nodes] for nodes in engine.extend(prompts, 4, SAMPLING)]


@pytest.mark.parametrize("cohort", [0, 100, 1_000_000])
@pytest.mark.parametrize("group", [0, 20, 1_000_000])
def test_what_is_drawn_does_not_depend_on_how_rows_lie(
    qwen: Model, monkeypatch: pytest.MonkeyPatch, cohort: int, group: int
) -> None:
    expected = texts(LocalEngine(qwen, batch_size=1))
    monkeypatch.setattr(batch, "_COHORT_ON_CPU", cohort)
    monkeypatch.setattr(sharing, "GROUP", group)
    assert texts(LocalEngine(qwen, batch_size=8)) == expected


def test_rows_of_groups_that_most_have_left_get_copies(qwen: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, copied = texts(LocalEngine(qwen, batch_size=1)), list[int]()
    monkeypatch.setattr(sharing, "GROUP", 20)
    real = Cohort.flat

    def flat(cohort: Cohort) -> Cohort:
        copied.append(sum(map(len, cohort.shared)))
        return real(cohort)

    monkeypatch.setattr(Cohort, "flat", flat)
    assert texts(LocalEngine(qwen, batch_size=8)) == expected
    assert any(copied)
