"""The family stays what docs/losses.md says: every loss has its row, and none is long."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch

from espalier.losses import preference

PAGE = Path(__file__).parents[3] / "docs" / "losses.md"
LOSSES = [
    name
    for name in preference.__all__
    if name
    not in ("PAIRWISE", "by_rank", "core", "logistic", "margin", "named", "reference_point", "settings", "tensors")
]


def test_every_loss_has_a_row_in_the_docs() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    named = {word for row in rows for word in re.findall(r"\w+", row.split("|")[2])}
    assert set(LOSSES) <= named, set(LOSSES) - named


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_is_long(name: str) -> None:
    lines = inspect.getsource(getattr(preference, name)).splitlines()
    assert len(lines) <= 32, f"{name} has {len(lines)} lines"


def test_the_core_reads_in_ten_minutes() -> None:
    assert len(inspect.getsource(preference.core).splitlines()) <= 200


PAIRS = {
    f"{side}_{what}": torch.tensor([-1.0, -2.0])
    for side in ("chosen", "rejected")
    for what in ("logratio", "logprob", "mean_logprob", "tokens")
}


@pytest.mark.parametrize("name", preference.PAIRWISE)
def test_a_pairwise_loss_asks_only_for_a_pairs_own_numbers(name: str) -> None:
    wanted = preference.tensors(name)
    assert wanted <= PAIRS.keys()
    settings = dict.fromkeys(preference.settings(name), 0.25)
    assert preference.named(name, PAIRS, settings).shape == (2,)


def test_a_loss_by_name_is_the_loss() -> None:
    pairs = PAIRS | {"chosen_mean_logprob": torch.tensor([-0.5, -0.1])}
    expected = preference.simpo(pairs["chosen_mean_logprob"], pairs["rejected_mean_logprob"], 2.0, 0.5)
    torch.testing.assert_close(preference.named("simpo", pairs, {"beta": 2.0, "gamma": 0.5}), expected)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("dop", {}, "no pairwise loss 'dop'; there are dpo, cdpo"),
        ("simpo", {"beta": 2.0}, "settings of simpo are beta, gamma; found beta, without gamma"),
        ("ipo", {"tau": 0.1, "beta": 0.1}, "settings of ipo are tau; found beta, tau"),
        ("dpo", {}, "settings of dpo are beta, smoothing; found none, without beta"),
    ],
)
def test_wrong_names_and_settings_are_refused(name: str, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        preference.named(name, PAIRS, settings)
