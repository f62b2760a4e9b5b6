"""What caps best-of-n: its reward model, and with the best one the policy's own search space."""

import torch
from torch import Tensor

from espalier.exact import best_of_n, expectation
from papers import Less, Lines, Near, Paper

NS, ERRORS = (1, 4, 16, 64, 1024), {"exact": 0.0, "good": 0.3, "poor": 0.8}
PAPER = Paper(
    id="P100",
    title="A Comparative Study on Reasoning Patterns of OpenAI's o1 Model",
    claim="best-of-n is capped by the quality of its reward model and, with the best one, by the search space: "
    "problems that the policy never solves; a better reward model is worth more than more samples",
    measured="120 prompts of 40 answers, a quarter of the prompts without a right one: exact accuracy of best-of-n by "
    "the truth with an error of 0, 0.3 or 0.8",
    rule=[
        Near("exact, n=1024", 0.75, within=0.02),
        Less("gain from 16 to 1024, poor", "gain from 16 to 1024, exact"),
        Less("poor, n=1024", "good, n=1024"),
        Less("good, n=1024", "exact, n=1024"),
        Less("poor, n=1024", "good, n=16"),
    ],
    seeds=10,
    figure=Lines("n", "accuracy", {name: [(n, f"{name}, n={n}") for n in NS] for name in ERRORS}),
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    chance = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    right = torch.zeros(120, 40, dtype=torch.float64)
    right[:90, 0] = 1.0
    law = (normal(120, 40) + right).log_softmax(-1)
    error = normal(120, 40)
    figures = {
        f"{name}, n={n}": float(expectation(best_of_n(law, right + size * error, n), right).mean())
        for name, size in ERRORS.items()
        for n in NS
    }
    for name in ERRORS:
        figures[f"gain from 16 to 1024, {name}"] = figures[f"{name}, n=1024"] - figures[f"{name}, n=16"]
    return figures
