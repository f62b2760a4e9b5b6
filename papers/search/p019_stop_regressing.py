"""Values learned by cross-entropy over bins and by squared error, where rewards are noisy and where targets move."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from espalier.losses import Support, cross_entropy, expected_value, hl_gauss, mse, two_hot
from papers import Less, Paper

PAPER = Paper(
    id="P019",
    title="Stop Regressing: Training Value Functions via Classification for Scalable Deep RL",
    claim="a value head trained by cross-entropy with HL-Gauss targets is more accurate than one trained by squared "
    "error where targets are noisy, and where they move as a bootstrapped target does; smoothing (HL-Gauss) helps "
    "beyond two-hot",
    measured="noisy: offline Q-learning with a target network, three layers, on 5,000 steps on a grid of 8 x 8 cells, "
    "with uniform noise of standard deviation 1 on the rewards: RMSE to the exact optimal values, which lie in "
    "[-1, 1]. Moving: the paper's synthetic magnitudes, such a network fitted in batches to random targets around 0, "
    "then around 8, 16, 24 and 32: RMSE to the last. Each loss at its best of three or four learning rates between "
    "1e-4 and 1e-2",
    rule=[
        Less("error, noisy, HL-Gauss", "error, noisy, MSE"),
        Less("error, moving, HL-Gauss", "error, moving, MSE"),
        Less("error, noisy, HL-Gauss", "error, noisy, two-hot"),
    ],
    seeds=8,
    tried="First with independent draws, a function of 16 features in one pass under Gaussian noise of five times its "
    "spread: over 16 seeds HL-Gauss beat two-hot by 0.009 [0.003, 0.015] of RMSE, but not squared error (-0.004 "
    "[-0.019, 0.012]), and was 0.051 [0.006, 0.097] worse where a smooth function changed nine times. Under Gaussian "
    "noise squared error is the likelihood, and nothing there is hard to fit; so the testbed was changed, not the "
    "rule. Offline, under uniform noise (the paper's experiments as we remember them; its text was not at hand), "
    "HL-Gauss beats squared error by 0.19 [0.08, 0.30], but two-hot does as well (-0.011 [-0.071, 0.049]), and where "
    "random targets rise it is 0.06 [0.01, 0.12] worse than squared error at its own, higher learning rate (at 1e-3 "
    "and 3e-3, on two other seeds, it was better: 0.64 and 0.14 against 1.01 and 0.33). An earlier counted run of 6 "
    "seeds, in one pass over 50,000 steps with one reward in 25 moved by 5, and three layers of 256 for the rising "
    "targets: ahead of squared error by 0.11 [0.08, 0.15], level with two-hot (0.0005 [-0.022, 0.023]), behind by 0.21 "
    "[-0.03, 0.44] where targets rise, as on some seeds it did not fit them. That two-hot does as well may lie in the "
    "noise, which spreads a target over 29 bins, where HL-Gauss smoothes by 0.75 of one. In one pass uniform noise "
    "made no difference (0.211, 0.216, two other seeds). So: robust to noise, yes; what the rest may need are the "
    "paper's networks, data and lengths of training.",
)
RATES = {
    "noisy": {"MSE": 3e-4, "two-hot": 1e-3, "HL-Gauss": 1e-3},
    "moving": {"MSE": 1e-2, "HL-Gauss": 3e-3},
}  # each the best on two or three other seeds
SIDE, GAMMA, TRANSITIONS, POINTS = 8, 0.9, 5000, 256
NOISE, MAGNITUDES = 3**0.5, (0, 8, 16, 24, 32)


class Value(nn.Module):
    """A network for one or several values of a state, with the head that a loss needs."""

    def __init__(self, loss: str, support: Support, hidden: list[int], values: int = 1) -> None:
        super().__init__()
        self.loss, self.support, self.values = loss, support, values
        layers: list[nn.Module] = []
        for width, after in pairwise([16, *hidden]):
            layers += [nn.Linear(width, after), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden[-1], values if loss == "MSE" else values * support.bins))

    def forward(self, x: Tensor) -> Tensor:
        """What the head says: values, or logits."""
        return self.net(x) if self.loss == "MSE" else self.net(x).unflatten(-1, (self.values, self.support.bins))

    def read(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self(x) if self.loss == "MSE" else expected_value(self(x), self.support)

    def cost(self, said: Tensor, target: Tensor) -> Tensor:
        if self.loss == "MSE":
            return mse(said, target).mean()
        return cross_entropy(said, (hl_gauss if self.loss == "HL-Gauss" else two_hot)(target, self.support)).mean()


def grid() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features of the cells, the chances of each next cell, what it pays, and whether one goes on from it.

    Four moves of which one in five slips to any direction; two goals that pay 1 and two pits that cost 1, all final.
    """
    row, column = torch.arange(SIDE * SIDE) // SIDE, torch.arange(SIDE * SIDE) % SIDE
    to = [
        (row + down).clamp(0, SIDE - 1) * SIDE + (column + right).clamp(0, SIDE - 1)
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    moves = torch.eye(SIDE * SIDE)[torch.stack(to, 1)]
    chances = 0.8 * moves + 0.2 * moves.mean(1, keepdim=True)
    ends = torch.randperm(SIDE * SIDE)[:4]
    pays, alive = torch.zeros(SIDE * SIDE), torch.ones(SIDE * SIDE)
    pays[ends], alive[ends] = torch.tensor([1.0, 1.0, -1.0, -1.0]), 0.0
    features = torch.cat([torch.eye(SIDE)[row], torch.eye(SIDE)[column]], 1)
    return features, chances, pays, alive


def noisy(loss: str, seed: int, updates: int) -> float:
    """Q-learning with a target network from transitions with noisy rewards: the RMSE to the exact optimal values."""
    torch.manual_seed(seed)
    x, chances, pays, alive = grid()
    best = torch.zeros(len(x), 4)
    for _ in range(200):
        best = chances @ (pays + GAMMA * alive * best.amax(1))
    cell, action = torch.randint(len(x), (TRANSITIONS,)), torch.randint(4, (TRANSITIONS,))
    reached = torch.multinomial(chances[cell, action], 1)[:, 0]
    reward = pays[reached] + NOISE * (2 * torch.rand(TRANSITIONS) - 1)
    support = Support.around(-3, 3, 51)
    learner, target = (Value(loss, support, [128, 128], values=4) for _ in range(2))
    optimiser = torch.optim.Adam(learner.parameters(), RATES["noisy"][loss], fused=True)
    for _ in range(updates):
        target.load_state_dict(learner.state_dict())
        ahead = GAMMA * alive * target.read(x).amax(1)
        for _ in range(40):
            some = torch.randint(TRANSITIONS, (64,))
            optimiser.zero_grad()
            said = learner(x)[cell[some], action[some]]
            aim = (reward[some] + ahead[reached[some]]).clamp(support.low, support.high)  # for all alike
            learner.cost(said, aim).backward()
            optimiser.step()
    return float((learner.read(x) - best)[alive > 0].square().mean().sqrt())


def moving(loss: str, seed: int, steps: int) -> float:
    """Random targets for the same inputs, refitted as they rise: the RMSE to the last."""
    torch.manual_seed(seed)
    x, phases = torch.randn(POINTS, 16), 2 * math.pi * torch.rand(len(MAGNITUDES), POINTS, 1)
    learner = Value(loss, Support.around(-1, max(MAGNITUDES) + 1, 101), [128, 128])
    optimiser = torch.optim.Adam(learner.parameters(), RATES["moving"][loss], fused=True)
    targets = [phase.sin() + magnitude for phase, magnitude in zip(phases, MAGNITUDES, strict=True)]
    for target in targets:
        for _ in range(steps):
            some = torch.randint(POINTS, (64,))
            optimiser.zero_grad()
            learner.cost(learner(x[some]), target[some]).backward()
            optimiser.step()
    return float((learner.read(x) - targets[-1]).square().mean().sqrt())


def measure(seed: int, smoke: bool) -> dict[str, float]:
    updates, steps = (1, 10) if smoke else (20, 200)
    return {
        **{f"error, noisy, {loss}": noisy(loss, seed, updates) for loss in RATES["noisy"]},
        **{f"error, moving, {loss}": moving(loss, seed, steps) for loss in RATES["moving"]},
    }
