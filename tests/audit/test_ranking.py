from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from espalier.audit import auc, rank_correlation, ranking_accuracy

EACH = np.arange(6)


def test_auc_of_known_ranks() -> None:
    """Right ones score 1, 3, 3; wrong ones 0, 2, 3: of nine pairs 1 + 2 + 2 are won and two tie."""
    scores = np.array([1.0, 3, 3, 0, 2, 3])
    labels = np.array([True, True, True, False, False, False])
    assert auc(scores, labels, EACH).estimate == pytest.approx((5 + 2 / 2) / 9)
    assert auc(-scores, labels, EACH).estimate == pytest.approx(1 - 6 / 9)


def test_every_resample_is_the_auc_of_its_own_draw() -> None:
    """The weighted statistic, checked against scipy's Mann-Whitney U on data with each problem repeated."""
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(12), 4)
    scores, labels = rng.integers(5, size=48).astype(float), rng.random(48) < 0.5
    times = rng.integers(1, 4, size=12)[problems]
    repeated = auc(np.repeat(scores, times), np.repeat(labels, times), np.repeat(problems, times), resamples=2)
    right, wrong = np.repeat(scores[labels], times[labels]), np.repeat(scores[~labels], times[~labels])
    assert repeated.estimate == pytest.approx(stats.mannwhitneyu(right, wrong).statistic / (len(right) * len(wrong)))


def test_the_auc_interval_covers_with_alike_responses() -> None:
    rng = np.random.default_rng(0)

    def draw(problems: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shared = rng.normal(size=(problems, 1))
        score = shared + 0.5 * rng.normal(size=(problems, 4))
        label = rng.random((problems, 4)) < 1 / (1 + np.exp(-shared))
        return score.ravel(), label.ravel(), np.repeat(np.arange(problems), 4)

    truth = auc(*draw(50_000), resamples=2).estimate
    covered = [not auc(*draw(80), resamples=300, seed=i).excludes(truth) for i in range(200)]
    assert 0.89 <= np.mean(covered) <= 0.99


def test_ranking_within_a_problem_is_not_fooled_by_hard_and_easy_problems() -> None:
    """A score that only knows the problem: a fine AUC, but nothing to choose between answers."""
    problems = np.repeat(np.arange(4), 4)
    labels = np.array([1, 0, 0, 0] * 2 + [1, 1, 1, 0] * 2, dtype=bool)
    scores = (problems >= 2).astype(float)
    assert auc(scores, labels, problems).estimate == pytest.approx(0.75)
    assert ranking_accuracy(scores, labels, problems).estimate == pytest.approx(0.5)


def test_ranking_averages_over_problems_and_counts_those_without_a_pair() -> None:
    problems = np.array([0, 0, 0, 1, 1, 2, 2])
    labels = np.array([True, False, False, True, False, True, True])
    scores = np.array([0.5, 0.4, 0.6, 0.9, 0.1, 0.3, 0.2])
    interval = ranking_accuracy(scores, labels, problems)
    assert (interval.estimate, interval.n, interval.missing) == (pytest.approx(0.75), 2, 1)


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(6, size=60).astype(float)
    y = x + rng.integers(6, size=60)
    interval = rank_correlation(x, y, np.arange(60))
    assert interval.estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert interval.low < interval.estimate < interval.high
    assert rank_correlation(x, x**3, np.arange(60)).estimate == pytest.approx(1.0)


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="right and wrong answers, found 6 right of 6"):
        auc(np.zeros(6), np.ones(6, dtype=bool), EACH)
    with pytest.raises(ValueError, match="values that differ"):
        rank_correlation(np.zeros(6), EACH.astype(float), EACH)
