"""Tools are called earlier when the advantage is shaped, and what is right stays so, as it does not with the reward."""

import torch
from torch import Tensor

from espalier.losses import group, reinforce
from espalier.losses.tool_use import early_calls
from papers import Below, Less, Paper

PAPER = Paper(
    id="P453",
    title="Understanding Tool-Integrated Reasoning",
    claim="adding a clipped term for early calls to the advantage of right responses makes calls earlier than GRPO "
    "does and keeps accuracy, where the same wish in the reward costs accuracy",
    measured="150 steps of GRPO on 8 samples for each of 16 problems; a response calls its tool at one of 6 places "
    "with one of 4 ideas, right in 90 % of cases with the one right idea and in 10 % with another, and in 25 points "
    "less where it calls at once, without a thought; accuracy and mean place of the call at the end, exactly",
    rule=[
        Less("place, ASPO", "place, GRPO"),
        Below("right, lost by ASPO", 0.02),
        Less("right, shaped reward", "right, ASPO"),
        Less("right, shaped reward", "right, GRPO"),
    ],
    seeds=24,
    tried="Reproduced with 8 seeds as well, but the lead of GRPO over the shaped reward was then 0.015 [0.002, 0.027], "
    "near none; at its standard deviation of 0.015, 24 seeds miss such a lead in less than one case of a hundred, so "
    "these were run, once.",
)

PROBLEMS, PLACES, IDEAS, SAMPLES, BONUS = 16, 6, 4, 8, 0.5


def trained(kind: str, start: Tensor, chance: Tensor, seed: int, steps: int) -> Tensor:
    """The law over place and idea after training, [problems, places * ideas]."""
    logits, draws = start.clone().requires_grad_(), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([logits], 0.05)
    groups, known = torch.arange(PROBLEMS).repeat_interleave(SAMPLES), torch.ones(PROBLEMS * SAMPLES, dtype=torch.bool)
    for _ in range(steps):
        law = logits.log_softmax(-1)
        drawn = torch.multinomial(law.detach().exp(), SAMPLES, replacement=True, generator=draws)
        place = (drawn // IDEAS).float().flatten()
        right = torch.rand(drawn.shape, generator=draws).flatten() < chance.gather(1, drawn).flatten()
        reward = right.float() + (BONUS * (1 - place / (PLACES - 1)) if kind == "shaped reward" else 0.0)
        advantages = group(reward, groups, known).advantages
        if kind == "ASPO":
            advantages = early_calls(advantages, place, torch.full_like(place, PLACES), groups, right)
        optimiser.zero_grad()
        reinforce(law.gather(1, drawn).flatten(), advantages).mean().backward()
        optimiser.step()
    return logits.detach().softmax(-1)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    start = 0.5 * torch.randn(PROBLEMS, PLACES * IDEAS, generator=generator)
    idea = torch.randint(IDEAS, (PROBLEMS, 1), generator=generator)
    arms = torch.arange(PLACES * IDEAS)[None]
    chance = (torch.where(arms % IDEAS == idea, 0.9, 0.1) - 0.25 * (arms < IDEAS)).clamp_min(0.0)
    figures = {}
    for kind in ("GRPO", "ASPO", "shaped reward"):
        law = trained(kind, start, chance, seed, 10 if smoke else 150)
        figures[f"right, {kind}"] = float((law * chance).sum(1).mean())
        figures[f"place, {kind}"] = float((law * (arms // IDEAS)).sum(1).mean())
    return figures | {"right, lost by ASPO": figures["right, GRPO"] - figures["right, ASPO"]}
