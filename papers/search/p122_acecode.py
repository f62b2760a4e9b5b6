"""Reinforcement learning for code that is right and fast: steps for compiling and passing, then time by a reference."""

import torch
from torch import Tensor

from espalier.exact import Language, Tabular
from espalier.losses import ppo_clip
from espalier.worlds.programs import INSTRUCTIONS, Task, compiles, cost
from papers import Above, Less, Paper

PAPER = Paper(
    id="P122",
    title="ACECode: A Reinforcement Learning Framework for Aligning Code Efficiency and Correctness in Code Language "
    "Models",
    claim="PPO on a reward in steps (compiles, passes, how fast beside a reference) makes programs right more often "
    "and faster for most tasks, which a reward for passing alone does not",
    measured="exact laws over all stack programs of up to 5 instructions for 8 tasks, before and after 80 steps of PPO "
    "on 16 samples a task; the start writes right programs a third of the time, slow ones rather than fast ones; the "
    "mean cost is that of its right programs, and a task is faster where that fell",
    rule=[
        Less("right, start", "right, stepped"),
        Less("cost, stepped", "cost, start"),
        Less("cost, stepped", "cost, tests only"),
        Above("share of tasks faster", 0.5),
    ],
    seeds=8,
)

TASKS = [Task(reference) for reference in ("x", "1", "xx+", "x1+", "xx*", "11+", "xx*x+", "xx*1+")]
LANGUAGE = Language(INSTRUCTIONS, 5, prompts=("x1", "1x", "x+", "+x", "x*", "*x", "1+", "+1"))
COMPILE, FAIL = -1.0, -0.3


def stepped(task: Task, program: str) -> float:
    if task.passed(program) == 1:
        return 0.5 + 0.5 * min(1.0, cost(task.reference) / cost(program))
    return FAIL if compiles(program) else COMPILE


def trained(start: Tabular, rewards: Tensor, seed: int, steps: int) -> Tensor:
    """The law that PPO makes of the start."""
    policy, draws = Tabular(LANGUAGE, start.logits), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(policy.parameters(), 0.05)
    for _ in range(steps):
        old = policy().detach()
        drawn = torch.multinomial(old.exp(), 16, replacement=True, generator=draws)
        reward = rewards.gather(1, drawn)
        advantages = (reward - reward.mean(1, keepdim=True)).flatten()
        for _ in range(2):
            optimiser.zero_grad()
            ppo_clip(policy().gather(1, drawn).flatten(), old.gather(1, drawn).flatten(), advantages).mean().backward()
            optimiser.step()
    return policy().detach()


def measure(seed: int, smoke: bool) -> dict[str, float]:
    right = torch.tensor([[float(task.passed(text) == 1) for text in LANGUAGE.strings] for task in TASKS]).double()
    costs = torch.tensor([float(cost(text)) for text in LANGUAGE.strings]).double()
    slow = (right * (0.2 * costs).exp()).clamp_min(1e-12)
    random = Tabular.random(LANGUAGE, seed)().detach().exp()
    start = Tabular.of(LANGUAGE, (slow / slow.sum(1, keepdim=True) / 3 + random * 2 / 3).log())
    table = torch.tensor([[stepped(task, text) for text in LANGUAGE.strings] for task in TASKS]).double()
    laws = {
        "start": start().detach(),
        "stepped": trained(start, table, seed, 5 if smoke else 80),
        "tests only": trained(start, right, seed, 5 if smoke else 80),
    }
    chance = {name: (law.exp() * right).sum(1) for name, law in laws.items()}
    means = {name: (law.exp() * right * costs).sum(1) / chance[name] for name, law in laws.items()}
    figures = {f"right, {name}": float(value.mean()) for name, value in chance.items()}
    figures |= {f"cost, {name}": float(value.mean()) for name, value in means.items()}
    return figures | {"share of tasks faster": float((means["stepped"] < means["start"]).double().mean())}
