"""Texts of several sources, each a Markov chain over letters: corpora from which data is to be selected.

Sources are relatives: each leans, in its own way, away from one common chain, so that no letter or pair of letters
belongs to one source alone.
"""

from collections.abc import Sequence

import numpy as np

LETTERS = "abcdefghijklmnopqrstuvwx"


def source(rng: np.random.Generator, common: np.ndarray, lean: float) -> np.ndarray:
    """The letters' log-odds after each letter: the common chain's, and this source's own on top."""
    return common + lean * rng.normal(size=common.shape)


def common(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(len(LETTERS), len(LETTERS)))


def write(rng: np.random.Generator, logits: np.ndarray, texts: int, length: int) -> np.ndarray:
    """Texts of a source as rows of letters' numbers."""
    law = np.exp(logits - logits.max(-1, keepdims=True))
    law = (law / law.sum(-1, keepdims=True)).cumsum(-1)
    rows = np.zeros((texts, length), dtype=np.int64)
    rows[:, 0] = rng.integers(len(LETTERS), size=texts)
    for place in range(1, length):
        rows[:, place] = np.minimum((law[rows[:, place - 1]] < rng.random((texts, 1))).sum(-1), len(LETTERS) - 1)
    return rows


def mixture(
    rng: np.random.Generator, sources: Sequence[np.ndarray], shares: Sequence[float], texts: int, length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Texts of several sources in random order, and whose each is."""
    whose = rng.choice(len(sources), size=texts, p=np.asarray(shares) / np.sum(shares))
    rows = np.zeros((texts, length), dtype=np.int64)
    for number, logits in enumerate(sources):
        rows[whose == number] = write(rng, logits, int((whose == number).sum()), length)
    return rows, whose


def spelled(rows: np.ndarray) -> list[str]:
    """Each text with a space between letters, so that a letter is a word and two are a bigram."""
    return [" ".join(LETTERS[letter] for letter in row) for row in rows]


class Bigrams:
    """A model of texts that knows how often each letter follows each letter, with some imagined texts of even law.

    Args:
        rows: the texts that it is trained on.
        prior: counts to start from, [letters, letters]: those of another model, which this one then fine-tunes.
    """

    def __init__(self, rows: np.ndarray, prior: np.ndarray | None = None) -> None:
        size = len(LETTERS)
        self.counts = np.full((size, size), 0.5) if prior is None else prior.copy()
        np.add.at(self.counts, (rows[:, :-1].ravel(), rows[:, 1:].ravel()), 1.0)

    def loss(self, rows: np.ndarray) -> np.ndarray:
        """Nats a letter, of each text."""
        law = np.log(self.counts / self.counts.sum(-1, keepdims=True))
        return -law[rows[:, :-1], rows[:, 1:]].mean(-1)


def classifier(raw: np.ndarray, target: np.ndarray, ridge: float = 1.0, steps: int = 4) -> np.ndarray:
    """How sure logistic regression on n-gram counts is, in log-odds, that each raw text is of the target."""
    used = (raw.sum(0) + target.sum(0)) > 0
    half = raw[:600]
    rows = np.concatenate([half, target])[:, used].astype(float)
    labels = np.r_[np.zeros(len(half)), np.ones(len(target))]
    balance = np.where(labels == 1, len(half) / len(target), 1.0)
    centre, weights, level = rows.mean(0), np.zeros(used.sum()), 0.0
    rows -= centre
    for _ in range(steps):
        odds = 1 / (1 + np.exp(-(rows @ weights + level)))
        curve, slope = balance * odds * (1 - odds), balance * (odds - labels)
        step = np.linalg.solve(
            (rows.T * curve) @ rows + ridge * np.eye(rows.shape[1]), rows.T @ slope + ridge * weights
        )
        weights, level = weights - step, level - slope.sum() / max(curve.sum(), 1e-9)
    return (raw[:, used] - centre) @ weights + level


class Trigrams:
    """A larger model than `Bigrams`: each letter after the two before it, backed off to those after one."""

    def __init__(self, rows: np.ndarray, weight: float = 8.0) -> None:
        size = len(LETTERS)
        self.bigrams = Bigrams(rows)
        following = self.bigrams.counts / self.bigrams.counts.sum(-1, keepdims=True)
        counts = np.tile(weight * following, (size, 1, 1))
        np.add.at(counts, (rows[:, :-2].ravel(), rows[:, 1:-1].ravel(), rows[:, 2:].ravel()), 1.0)
        self.law = np.log(counts / counts.sum(-1, keepdims=True))

    def loss(self, rows: np.ndarray) -> np.ndarray:
        """Nats a letter, of each text."""
        return -self.law[rows[:, :-2], rows[:, 1:-1], rows[:, 2:]].mean(-1)
