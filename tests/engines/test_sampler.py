"""One draw: the right frequencies, the right support, the right log-prob, and randomness that belongs to the row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from espalier.engines.sampler import draw, streams, uniforms
from espalier.errors import EngineError

PROBABILITIES = torch.tensor([0.1, 0.4, 0.2, 0.3])


def many(n: int = 20_000) -> torch.Tensor:
    return torch.from_numpy(uniforms(streams(0, [1], 0, n), np.zeros(n, dtype=np.int64)))


def test_uniforms_are_uniform_and_streams_are_independent() -> None:
    keys = streams(7, [3, 1], 0, 500)
    table = np.stack([uniforms(keys, np.full(500, step)) for step in range(40)])
    assert table.min() >= 0
    assert table.max() < 1
    assert stats.kstest(table.ravel(), "uniform").pvalue > 0.01
    for first, second in ((table[:-1], table[1:]), (table[:, :-1], table[:, 1:])):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


def test_a_stream_depends_on_seed_prefix_and_occurrence_but_not_on_how_many_samples() -> None:
    keys = streams(0, [5, 6], 0, 4)
    assert (streams(0, [5, 6], 0, 9)[:4] == keys).all()
    for other in (streams(1, [5, 6], 0, 4), streams(0, [5, 6, 6], 0, 4), streams(0, [5, 6], 1, 4)):
        assert not set(other.tolist()) & set(keys.tolist())


def test_frequencies_are_the_softmax_at_the_temperature() -> None:
    uniform = many()
    drawn = draw(PROBABILITIES.log().expand(len(uniform), 4), uniform, temperature=0.5)
    squared = PROBABILITIES**2 / (PROBABILITIES**2).sum()
    counts = torch.bincount(drawn.tokens, minlength=4)
    assert stats.chisquare(counts, squared.double() / squared.double().sum() * len(uniform)).pvalue > 0.01
    torch.testing.assert_close(drawn.logprobs, squared.log()[drawn.tokens])
    assert drawn.cut is None


@pytest.mark.parametrize(
    ("top_p", "top_k", "support", "cut"),
    [
        (1.0, 2, {1, 3}, 0.3),
        (1.0, 9, {0, 1, 2, 3}, 0.0),
        (0.65, 0, {1, 3}, 0.3),  # 0.4 + 0.3 is the smallest set with at least 0.65
        (0.75, 0, {1, 3, 2}, 0.1),
        (0.01, 0, {1}, 0.6),
        (0.5, 2, {1}, 0.6),  # half of what top-k kept, 0.7, is 0.35
    ],
)
def test_top_p_and_top_k_keep_the_right_tokens_and_the_logprob_is_from_before_the_cut(
    top_p: float, top_k: int, support: set[int], cut: float
) -> None:
    uniform = many(4000)
    drawn = draw(PROBABILITIES.log().expand(len(uniform), 4), uniform, 1.0, top_p, top_k)
    assert set(drawn.tokens.tolist()) == support
    assert drawn.cut is not None
    torch.testing.assert_close(drawn.cut, torch.full_like(drawn.cut, cut), atol=1e-6, rtol=0)
    torch.testing.assert_close(drawn.logprobs, PROBABILITIES.log()[drawn.tokens])
    kept = PROBABILITIES[sorted(support)].double()
    counts = torch.bincount(drawn.tokens, minlength=4)[sorted(support)]
    if len(support) > 1:
        assert stats.chisquare(counts, kept / kept.sum() * len(uniform)).pvalue > 0.01


def test_top_p_looks_further_where_the_likeliest_tokens_do_not_suffice() -> None:
    flat = torch.zeros(4000, 500)
    drawn = draw(flat, many(4000), 1.0, top_p=0.9)
    assert drawn.cut is not None
    torch.testing.assert_close(drawn.cut, torch.full_like(drawn.cut, 0.1), atol=2.1e-3, rtol=0)
    assert len(set(drawn.tokens.tolist())) > 400


def test_greedy_takes_the_likeliest_token_and_its_logprob_at_temperature_one() -> None:
    drawn = draw(PROBABILITIES.log()[None], torch.tensor([0.99]), 0.0, top_p=0.5, top_k=1)
    assert drawn.tokens.tolist() == [1]
    assert drawn.logprobs.item() == pytest.approx(np.log(0.4), abs=1e-6)
    assert drawn.cut is None


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(3, 5)
    drawn = draw(logits, torch.tensor([0.0, 0.5, 1 - 2.0**-24]), 1.0)
    assert drawn.tokens.tolist() == [1, 3, 3]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_are_an_error(bad: float) -> None:
    logits = torch.zeros(3, 4)
    logits[1, 2] = bad
    for temperature in (0.0, 1.0):
        with pytest.raises(EngineError, match="not finite in 1 of 3 rows"):
            draw(logits, torch.zeros(3), temperature)
