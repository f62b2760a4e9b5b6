"""Supervised training until the model is sure ruins pass@N; the loss that counts N tries does not."""

import torch
from torch import Tensor, nn

from espalier.losses import coverage
from papers import Less, Lines, Paper

NS, EARLY, STEPS = (1, 4, 16, 64), 30, 240
PAPER = Paper(
    id="P076",
    title="Rethinking Fine-Tuning when Scaling Test-Time Compute: Limiting Confidence Improves Mathematical Reasoning",
    claim="under cross-entropy pass@N falls with longer training, since the model grows overconfident; the loss "
    "-log(1 - (1 - p)^N) limits its confidence and rescues pass@N, at a cost in pass@1",
    measured="a network of 64 hidden units on 300 ambiguous questions with 40 possible answers each, full-batch Adam, "
    f"{STEPS} steps; exact pass@N on 1,000 held-out questions",
    rule=[
        Less("pass@16, N=1", "pass@16, CE, early"),
        Less("pass@64, N=1", "pass@64, CE, early"),
        Less("confidence, CE, early", "confidence, N=1"),
        Less("confidence, N=16", "confidence, N=1"),
        Less("pass@16, N=1", "pass@16, N=4"),
        Less("pass@16, N=4", "pass@16, N=16"),
        Less("pass@1, N=64", "pass@1, N=1"),
    ],
    seeds=10,
    figure=Lines(
        "tries",
        "pass@N",
        {f"trained for N={m}": [(n, f"pass@{n}, N={m}") for n in NS] for m in NS},
    ),
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    chance = torch.Generator().manual_seed(seed)
    features, answers, questions = 24, 40, 300 if not smoke else 60
    truth = torch.randn(features, answers, generator=chance)

    def asked(count: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(count, features, generator=chance)
        law = (0.5 * x @ truth).softmax(-1)
        return x, torch.multinomial(law, 1, generator=chance)

    (x, y), (held_x, held_y) = asked(questions), asked(1000)
    figures: dict[str, float] = {}

    def look(net: nn.Module, label: str, ns: tuple[int, ...]) -> None:
        with torch.no_grad():
            p = net(held_x).softmax(-1)
        right = p.gather(1, held_y)
        for n in ns:
            figures[f"pass@{n}, {label}"] = float((1 - (1 - right) ** n).mean())
        figures[f"confidence, {label}"] = float(p.amax(-1).mean())

    for n in NS:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(features, 64), nn.Tanh(), nn.Linear(64, answers))
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for step in range(1, 1 + (60 if smoke else STEPS)):
            optimiser.zero_grad()
            coverage(net(x).log_softmax(-1).gather(1, y)[:, 0], n).mean().backward()
            optimiser.step()
            if n == 1 and step == EARLY:
                look(net, "CE, early", (16, 64))
        look(net, f"N={n}", NS)
    return figures
