"""Importance resampling on hashed n-grams selects data distributed like the target; KL reduction foretells the gain."""

import numpy as np

from espalier.curation import gumbel_top_k, hashed_ngrams, kl_reduction, log_weights
from papers import Above, Less, Paper
from papers.data._sources import Bigrams, classifier, common, mixture, source, spelled

PAPER = Paper(
    id="P426",
    title="Data Selection for Language Models via Importance Resampling",
    claim="texts resampled from a large raw corpus with weights from hashed n-grams train a better model of the target "
    "than random ones and than heuristic classification (a classifier of n-grams with a noisy threshold), bigrams "
    "better than unigrams alone; over ways to select and targets, the reduction of KL in n-grams foretells the gain",
    measured="raw corpora of 8 related Markov sources, 3,000 texts of 40 letters, targets that mix two of them, known "
    "by 80 texts; 300 texts selected: nats a letter on the target of a bigram model trained on them; the correlation "
    "of KL reduction with that gain over 7 ways and 4 targets",
    rule=[
        Less("loss, DSIR", "loss, random"),
        Less("loss, DSIR", "loss, classifier, noisy threshold"),
        Less("loss, DSIR", "loss, DSIR on unigrams"),
        Above("correlation of KL reduction and gain", 0.7),
    ],
    seeds=12,
)
BUCKETS, LENGTH, TARGET = 1000, 40, 80


def noisy(scores: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Texts whose chance of being the target's passes a random threshold near 1, as GPT-3's data were selected."""
    passed = 1 / (1 + np.exp(-scores)) > 1 - rng.pareto(9, len(scores))
    return np.argsort(rng.random(len(scores)) - passed)[:count]


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng, figures, reductions, gains = np.random.default_rng(seed), {}, [], []
    shared = common(rng)
    sources = [source(rng, shared, 0.7) for _ in range(8)]
    texts, count = (400, 40) if smoke else (3000, 300)
    raw, _ = mixture(rng, sources, rng.dirichlet(np.ones(8) * 3), texts, LENGTH)
    grams, letters = (hashed_ngrams(spelled(raw), BUCKETS, bigrams=both) for both in (True, False))
    losses: dict[str, list[float]] = {}
    for number in range(1 if smoke else 4):
        shares = np.zeros(8)
        shares[[number, number + 4]] = 0.75, 0.25
        wanted, _ = mixture(rng, sources, shares, TARGET, LENGTH)
        test, _ = mixture(rng, sources, shares, 500, LENGTH)
        target, spelt = hashed_ngrams(spelled(wanted), BUCKETS), hashed_ngrams(spelled(wanted), BUCKETS, bigrams=False)
        weights, plain = log_weights(grams, target), log_weights(letters, spelt)
        scores = classifier(grams, target)
        chosen_by = {
            "random": rng.permutation(texts)[:count],
            "DSIR": gumbel_top_k(weights, count, rng),
            "DSIR on unigrams": gumbel_top_k(plain, count, rng),
            "greatest weights": np.argsort(-weights)[:count],
            "least weights": np.argsort(weights)[:count],
            "classifier": np.argsort(-scores)[:count],
            "classifier, noisy threshold": noisy(scores, count, rng),
        }
        for name, chosen in chosen_by.items():
            loss = Bigrams(raw[chosen]).loss(test).mean()
            losses.setdefault(name, []).append(float(loss))
            reductions.append(kl_reduction(grams[chosen], grams, target, smoothing=1e-4))
            gains.append(losses["random"][-1] - loss)
    figures = {f"loss, {name}": float(np.mean(values)) for name, values in losses.items()}
    return {**figures, "correlation of KL reduction and gain": float(np.corrcoef(reductions, gains)[0, 1])}
