"""A simple learner foretells which examples would help fine-tuning; skipping the others lowers perplexity."""

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from espalier.curation import GainLearner, falling, hashed_ngrams, information_gains
from papers import Above, Less, Paper
from papers.data._sources import LETTERS, common, mixture, source, spelled

PAPER = Paper(
    id="P323",
    title="Selecting Informative Contexts Improves Language Model Finetuning",
    claim="how much one step on an example lowers the loss on an objective set can be foretold from its n-grams; "
    "fine-tuning that skips what lies below a threshold, constant or falling, reaches a lower perplexity in as many "
    "steps than fine-tuning on all",
    measured="a small neural model of three letters' context, pre-trained on related sources; fine-tuning texts of "
    "which three in five are of other sources than the objective's; gains of 120 texts, ridge regression on n-grams: "
    "rank correlation on other texts, perplexity on the objective's source after 40 steps of 16 texts",
    rule=[
        Above("rank correlation of gain and forecast", 0.3),
        Less("perplexity, constant threshold", "perplexity, standard"),
        Less("perplexity, falling threshold", "perplexity, standard"),
    ],
    seeds=8,
)


class Small(nn.Module):
    """A letter from the three before it: embeddings and one hidden layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(
            nn.Embedding(len(LETTERS), 16), nn.Flatten(-2), nn.Linear(48, 64), nn.Tanh(), nn.Linear(64, len(LETTERS))
        )

    def loss(self, rows: Tensor) -> Tensor:
        """Nats a letter."""
        logits = self.layers(rows.unfold(1, 3, 1)[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 3:].flatten())


def adapted(model: Small, rows: Tensor, picked: np.ndarray, steps: int, lr: float) -> Small:
    """The model, trained in place: this many steps on batches of 16 of the picked rows, in order and around again."""
    places = np.resize(picked, (steps, 16))
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for batch in places:
        optimiser.zero_grad()
        model.loss(rows[batch]).backward()
        optimiser.step()
    return model


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng, steps, tried = np.random.default_rng(seed), 5 if smoke else 40, 30 if smoke else 120
    shared = common(rng)
    sources = [source(rng, shared, 0.8) for _ in range(6)]

    def texts(shares: list[float], number: int) -> Tensor:
        return torch.from_numpy(mixture(rng, sources, shares, number, 40)[0])

    start, general = Small(seed), texts([1.0] * 6, 16 * 3 * steps)
    start = adapted(start, general, np.arange(len(general)), 3 * steps, 3e-3)
    objective, test = texts([1, 0, 0, 0, 0, 0], 40), texts([1, 0, 0, 0, 0, 0], 300)
    corpus = texts([0.4, 0.12, 0.12, 0.12, 0.12, 0.12], 16 * steps * 4)
    samples = texts([0.4, 0.12, 0.12, 0.12, 0.12, 0.12], 2 * tried)
    losses = [lambda row=row: start.loss(row[None]) for row in samples]
    gains = information_gains(start, losses, lambda: start.loss(objective), lr=0.1)
    counts = hashed_ngrams(spelled(samples.numpy()), 2000)
    learner = GainLearner(counts[:tried], gains[:tried], ridge=30.0)
    forecast = learner.predict(hashed_ngrams(spelled(corpus.numpy()), 2000))

    def perplexity(threshold: list[float]) -> float:
        picked, place = [], 0
        while len(picked) < 16 * steps and place < len(corpus):
            if forecast[place] > threshold[len(picked) // 16]:
                picked.append(place)
            place += 1
        model = Small(seed)
        model.load_state_dict(start.state_dict())
        adapted(model, corpus, np.array(picked), steps, 3e-3)
        with torch.no_grad():
            return float(model.loss(test).exp())

    return {
        "rank correlation of gain and forecast": float(spearmanr(learner.predict(counts[tried:]), gains[tried:])[0]),
        "perplexity, standard": perplexity([-np.inf] * steps),
        "perplexity, constant threshold": perplexity([0.5] * steps),
        "perplexity, falling threshold": perplexity([falling(step, steps) for step in range(steps)]),
    }
