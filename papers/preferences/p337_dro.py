"""One scored response at a time is enough: DRO-V finds the regularised optimum, and from few data beats KTO."""

import torch
from torch import Tensor, nn

from espalier.exact import (
    Language,
    Tabular,
    anneal,
    descend,
    log_partition,
    objective,
    random_reward,
    tilted,
    total_variation,
)
from espalier.losses.preference import dro, kto
from papers import Below, Less, Paper

PAPER = Paper(
    id="P337",
    title="Offline Regularised Reinforcement Learning for Large Language Models Alignment",
    claim="the squared error of reward - value - tau * log-ratio, minimised over policy and value, has the "
    "KL-regularised optimum and its value, whoever wrote the responses; on single responses it beats KTO",
    measured="exact descent under another law than the reference: distance to the optimum, error of the value; then, "
    "from 300 responses with noisy scores, the regularised objective reached by DRO-V and, from thumbs up and down by "
    "the median of the same scores, by KTO at the best of three betas",
    rule=[
        Below("distance", 1e-3),
        Below("value error", 1e-3),
        Less("objective, KTO", "objective, DRO-V"),
    ],
    seeds=30,
)
TAU = 0.5


class Judged(nn.Module):
    """A policy that starts at the reference, with a value."""

    def __init__(self, language: Language, reference: Tensor) -> None:
        super().__init__()
        self.policy, self.value = Tabular.of(language, reference), nn.Parameter(torch.zeros(1, 1).double())


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("ab", length=2 if smoke else 3)
    reference, reward = Tabular.random(language, seed)().detach(), random_reward(language, seed + 100)
    writer = Tabular.random(language, seed + 200)().detach()

    def fit(weight: Tensor, score: Tensor) -> Judged:
        found = Judged(language, reference)
        descend(found, lambda: (weight * dro(found.policy() - reference, score, found.value, TAU)).sum())
        return found

    exact = fit(writer.exp(), reward)
    chance = torch.Generator().manual_seed(seed)
    drawn = torch.multinomial(reference[0].exp(), 300, replacement=True, generator=chance)
    scores = reward[0, drawn] + torch.randn(300, generator=chance, dtype=torch.float64)
    count = torch.bincount(drawn, minlength=len(language.strings)).double()
    mean = torch.bincount(drawn, scores, minlength=len(language.strings)) / count.clamp(min=1)
    liked = torch.bincount(drawn, (scores > scores.median()).double(), minlength=len(language.strings))

    def thumbs(beta: float) -> float:
        policy, up, down = Tabular.of(language, reference), torch.tensor(True), torch.tensor(False)

        def loss() -> Tensor:
            ratio = (policy() - reference)[0]
            point = (policy().exp() * ratio).sum().detach()
            return (liked * kto(ratio, up, point, beta) + (count - liked) * kto(ratio, down, point, beta)).sum() / 300

        anneal(policy, loss, steps=100 if smoke else 500)
        return float(objective(policy().detach(), reference, reward, TAU))

    few = fit(count[None] / 300, mean[None]).policy().detach()
    return {
        "distance": float(total_variation(exact.policy().detach(), tilted(reference, reward, TAU))),
        "value error": float((exact.value.detach() - TAU * log_partition(reference, reward, TAU)).abs()),
        "objective, DRO-V": float(objective(few, reference, reward, TAU)),
        "objective, KTO": max(thumbs(beta) for beta in (0.1, 0.3, 1.0)),
        "objective, optimum": float(TAU * log_partition(reference, reward, TAU)),
    }
