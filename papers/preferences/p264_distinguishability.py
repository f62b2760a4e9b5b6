"""What tells the two sides apart more clearly is learned first, and what was learned is unlearned faster."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from espalier.losses.preference import diagnostics, dpo
from papers import Above, Less, Paper

PAPER = Paper(
    id="P264",
    title="Understanding the Learning Dynamics of Alignment with Human Feedback",
    claim="the more distinguishable a behaviour's preferred and dispreferred statements are, the faster DPO's loss "
    "falls and the weights move; in a mixture those behaviours come first; an aligned model is misaligned faster",
    measured="Gaussian embeddings of statements, to be answered yes or no, of four behaviours whose means are 0.5 to 4 "
    "apart; the last layer by DPO, each behaviour alone, then all mixed in one space: loss, change of weights, order; "
    "a two-layer network trained by DPO, then with all labels turned: its loss after 10 steps, beside that of a "
    "network that was not aligned, and how distinguishable the statements are in its hidden layer",
    rule=[
        Above("order of loss, alone", 0.9),
        Above("order of weight change, alone", 0.9),
        Above("order of loss, mixed", 0.8),
        Less("hidden distinguishability, start", "hidden distinguishability, aligned"),
        Less("loss after turning, aligned", "loss after turning, start"),
    ],
    seeds=20,
)
BETA, DISTANCES = 0.1, (0.5, 1.0, 2.0, 4.0)


def statements(chance: torch.Generator, distance: float, count: int = 200, size: int = 32) -> Tensor:
    """Preferred above, dispreferred below, [2, count, size], along a random direction about a random centre."""
    direction = torch.nn.functional.normalize(torch.randn(size, generator=chance), dim=0)
    noise = torch.randn(2, count, size, generator=chance) / 2
    return (
        noise + torch.randn(size, generator=chance) / 2 + torch.stack([direction, -direction])[:, None] * distance / 2
    )


def losses(model: nn.Module, reference: nn.Module, data: Tensor, turned: bool = False) -> Tensor:
    """DPO on yes over no for preferred statements, on no over yes for the others; [statements]."""
    with torch.no_grad():
        fixed = reference(data).log_softmax(-1)
    ratio = model(data).log_softmax(-1) - fixed
    yes, no = (ratio[1], ratio[0]) if turned else (ratio[0], ratio[1])
    return dpo(torch.cat([yes[:, 0], no[:, 1]]), torch.cat([yes[:, 1], no[:, 0]]), BETA)


def train(model: nn.Module, reference: nn.Module, data: list[Tensor], count: int, turned: bool = False) -> list[float]:
    """Plain gradient descent on all of it; the loss of each piece afterwards."""
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    for _ in range(count):
        optimiser.zero_grad()
        torch.stack([losses(model, reference, one, turned).mean() for one in data]).mean().backward()
        optimiser.step()
    return [float(losses(model, reference, one, turned).mean().detach()) for one in data]


def order(values: list[float]) -> float:
    """The share of neighbours of which the more distinguishable has the larger value."""
    return sum(second > first for first, second in pairwise(values)) / (len(values) - 1)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    chance, count = torch.Generator().manual_seed(seed), 5 if smoke else 20
    behaviours = [statements(chance, distance) for distance in DISTANCES]

    def layer() -> nn.Linear:
        model = nn.Linear(32, 10, bias=False)  # yes, no, and eight other words
        nn.init.normal_(model.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
        return model

    fallen, moved = [], []
    for data in behaviours:
        model, start = layer(), layer()
        fallen.append(-train(model, start, [data], count)[0])
        moved.append(float((model.weight - start.weight).norm().detach()))
    mixed = train(layer(), layer(), behaviours, count)

    def network() -> nn.Sequential:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))

    data, figures = behaviours[2], {}
    for name in ("start", "aligned"):
        net, now = network(), network()
        if name == "aligned":
            train(net, now, [data], 20 if smoke else 200)
            now.load_state_dict(net.state_dict())
        hidden = net[:2](data).detach()
        figures[f"hidden distinguishability, {name}"] = float(diagnostics.distinguishability(hidden[0], hidden[1]))
        figures[f"loss after turning, {name}"] = train(net, now, [data], 10, turned=True)[0]
    return figures | {
        "order of loss, alone": order(fallen),
        "order of weight change, alone": order(moved),
        "order of loss, mixed": order([-loss for loss in mixed]),
        "loss, mixed, 0.5 apart": mixed[0],
        "loss, mixed, 4 apart": mixed[-1],
    }
