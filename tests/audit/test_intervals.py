from __future__ import annotations

import json

import numpy as np
import pytest

from espalier.audit import Interval, bootstrap, mean, proportion


def test_exact_binomial_interval_by_the_book() -> None:
    """Clopper and Pearson for 4 of 10: 0.1216 to 0.7376."""
    interval = proportion(np.arange(10) < 4)
    assert (interval.estimate, interval.n) == (0.4, 10)
    assert interval.low == pytest.approx(0.1216, abs=1e-4)
    assert interval.high == pytest.approx(0.7376, abs=1e-4)


def test_all_right_is_not_certain() -> None:
    """The lower end solves p^n = 0.025."""
    interval = proportion(np.ones(20, dtype=bool))
    assert interval.high == 1.0
    assert interval.low == pytest.approx(0.025 ** (1 / 20))
    assert proportion(np.zeros(20, dtype=bool)).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_outcomes_that_are_the_same_within_a_cluster_count_once() -> None:
    labels = np.arange(40) % 2 == 0
    eightfold = proportion(np.repeat(labels, 8), np.repeat(np.arange(40), 8))
    once = proportion(labels)
    assert eightfold.n == 40
    assert eightfold.high - eightfold.low == pytest.approx(once.high - once.low, rel=0.06)
    assert proportion(np.repeat(labels, 8)).high < eightfold.high - 0.05


def test_clusters_that_all_agree_count_as_clusters() -> None:
    assert proportion(np.ones(80, dtype=bool), np.repeat(np.arange(10), 8)).low == pytest.approx(0.025 ** (1 / 10))
    assert proportion(np.array([True, False]), np.zeros(2, dtype=int)).high - 0.5 > 0.4  # one cluster says little


def test_mean_leaves_missing_out_and_counts_it() -> None:
    interval = mean([0.0, None, 0.5, 1.0, np.nan])
    assert (interval.estimate, interval.n, interval.missing) == (0.5, 3, 2)


def test_mean_of_yes_and_no_is_exact() -> None:
    assert mean([1, 0, 1, None]).method == "Clopper-Pearson"
    assert mean([1, 0, 0.5]).method == "bias-corrected bootstrap"


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(size=400)
    interval = mean(values, resamples=10_000)
    error = values.std() / 20
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_same_seed_gives_the_same_interval_whatever_the_chunks() -> None:
    values = np.random.default_rng(0).random(30)

    def statistic(weights: np.ndarray) -> np.ndarray:
        return weights @ values / weights.sum(1)

    few = bootstrap(statistic, np.arange(30), seed=3)
    repeated = bootstrap(
        lambda weights: np.concatenate([statistic(row[None]) for row in weights]), np.arange(30), seed=3
    )
    assert few == repeated
    assert few != bootstrap(statistic, np.arange(30), seed=4)


def test_intervals_cover_as_often_as_they_say() -> None:
    """Skewed values, 40 problems, 400 repetitions: the binomial error of the coverage is 1.1 %."""
    rng = np.random.default_rng(0)
    found = [mean(rng.exponential(size=40), resamples=500, seed=i) for i in range(400)]
    assert 0.90 <= np.mean([not interval.excludes(1.0) for interval in found]) <= 0.98


def test_clustered_intervals_cover_and_unclustered_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    clustered, naive = [], []
    for _ in range(300):
        labels = rng.random((50, 8)) < rng.beta(0.5, 0.5, size=(50, 1))
        clustered.append(not proportion(labels.ravel(), np.repeat(np.arange(50), 8)).excludes(0.5))
        naive.append(not proportion(labels.ravel()).excludes(0.5))
    assert np.mean(clustered) >= 0.92
    assert np.mean(naive) < 0.80


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_known_is_refused(values: list[None]) -> None:
    with pytest.raises(ValueError, match="at least one known outcome"):
        mean(values)


def test_one_cluster_has_no_spread_and_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 of them, found 1"):
        mean([0.5, None])


def test_an_interval_prints_excludes_and_becomes_json() -> None:
    interval = Interval(0.12345, 0.1, 0.2, n=7)
    assert str(interval) == "0.123 [0.100, 0.200]"
    assert interval.excludes(0)
    assert not interval.excludes(0.15)
    assert json.loads(json.dumps(interval.to_dict()))["n"] == 7
