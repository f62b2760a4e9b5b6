"""Which pairs a person should label and which a model may: HyPER, the hybrid preference router.

Miranda et al. 2024 (arXiv 2410.19133). Every instance has tags (safety concern, complexity, domain, length). A few
hundred random mixtures of the two annotators' labels each train a reward model; a quadratic regression learns to
predict its quality from how many instances of each tag went to people. Then the best mixture is found without training
another model: by the predicted gain of each instance on its own, or by trying many random mixtures on the predictor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from espalier.curation.take import how_many, noted
from espalier.errors import ConfigError
from espalier.trees import Forest, Tree

Tags = Bool[np.ndarray, "instances tags"]
Routes = Bool[np.ndarray, "mixtures instances"]
"""True where a person labels."""


def random_mixtures(instances: int, count: int, rng: np.random.Generator, share: float | None = None) -> Routes:
    """Routes of random instances to people; each mixture sends a random share of them, or the same one."""
    shares = rng.random(count) if share is None else np.full(count, share)
    ranks = rng.random((count, instances)).argsort(-1).argsort(-1)
    return ranks < np.round(shares * instances)[:, None]


class PerformancePredictor:
    """Quadratic ridge regression from a mixture's counts of tags routed to people to how good its reward model is.

    Counts are shares of the instances that have the tag, so that a predictor learned on one data set can route another.

    Args:
        tags: of the instances that the mixtures were made of.
        routes: the mixtures that were tried.
        performance: of the reward model that each gave, such as accuracy.
        ridge: of the standardised terms.
    """

    def __init__(
        self, tags: Tags, routes: Routes, performance: Float[np.ndarray, "mixtures"], ridge: float = 1.0
    ) -> None:
        terms = _terms(_shares(tags, routes))
        self.centre, self.scale = terms.mean(0), np.maximum(terms.std(0), 1e-9)
        rows, self.level = (terms - self.centre) / self.scale, float(performance.mean())
        kernel = rows.T @ rows + ridge * np.eye(rows.shape[1])
        self.weights = np.linalg.solve(kernel, rows.T @ (performance - self.level))

    def predict(self, tags: Tags, routes: Routes) -> Float[np.ndarray, "mixtures"]:
        """The performance of these mixtures."""
        return self.level + ((_terms(_shares(tags, routes)) - self.centre) / self.scale) @ self.weights

    def gains(self, tags: Tags, routed: Bool[np.ndarray, "instances"] | None = None) -> Float[np.ndarray, "instances"]:
        """What each instance would add to the predicted performance, were it the next to go to a person.

        Args:
            routed: the instances that go to people already; by default none.
        """
        now = np.zeros(len(tags), dtype=bool) if routed is None else routed
        shares = _shares(tags, now[None])
        each = shares + tags / np.maximum(tags.sum(0), 1)
        values = (_terms(np.concatenate([shares, each])) - self.centre) / self.scale @ self.weights
        return values[1:] - values[0]


def route(
    predictor: PerformancePredictor,
    tags: Tags,
    keep: float,
    rng: np.random.Generator | None = None,
    tries: int = 500,
) -> Bool[np.ndarray, "instances"]:
    """The instances for people, as many as the budget allows: those of the greatest gain, one batch after the other.

    The paper takes all by their first gain. Here gains are computed anew after every twentieth of the budget, since the
    second instance of a tag adds less than the first where the regression says so.

    Args:
        keep: the budget, a share of the instances or a number.
        rng: given, the best of `tries` random mixtures of this budget by prediction is taken instead.
    """
    budget = how_many(keep, len(tags))
    if rng is not None:
        mixtures = random_mixtures(len(tags), tries, rng, budget / len(tags))
        return mixtures[predictor.predict(tags, mixtures).argmax()]
    routed = np.zeros(len(tags), dtype=bool)
    while (left := budget - int(routed.sum())) > 0:
        gains = np.where(routed, -np.inf, predictor.gains(tags, routed))
        routed[np.argsort(-gains, kind="stable")[: min(left, max(1, budget // 20))]] = True
    return routed


def annotators(
    forest: Forest, predictor: PerformancePredictor, tags: Callable[[Tree], Sequence[bool]], keep: float
) -> Forest:
    """The same trees, each with "human" or "model" noted as its "annotator", and its first gain as "human gain".

    Args:
        tags: of a tree, in the order that the predictor was fitted with.
        keep: the share, or number, of trees that people are to label.

    Raises:
        ConfigError: trees with different numbers of tags.
    """
    rows = [list(tags(tree)) for tree in forest]
    if len({len(row) for row in rows}) > 1:
        raise ConfigError("every tree needs the same tags, in the same order")
    table = np.array(rows, dtype=bool)
    routed, gains = route(predictor, table, keep), predictor.gains(table)
    noted_gain = (noted(tree.copy(), "human gain", float(gain)) for tree, gain in zip(forest, gains, strict=True))
    who = ("human" if human else "model" for human in routed)
    return Forest([noted(tree, "annotator", name) for tree, name in zip(noted_gain, who, strict=True)])


def _shares(tags: Tags, routes: Routes) -> Float[np.ndarray, "mixtures tags"]:
    """Of the instances that have each tag, the share that goes to people."""
    return routes.astype(float) @ tags / np.maximum(tags.sum(0), 1)


def _terms(shares: Float[np.ndarray, "mixtures tags"]) -> Float[np.ndarray, "mixtures terms"]:
    """The shares, their squares and their products."""
    one, two = np.triu_indices(shares.shape[1])
    return np.concatenate([shares, shares[:, one] * shares[:, two]], 1)
