"""Online iterative DPO: sample from the policy, pair the best with the worst by a proxy reward, train, and again."""

import torch
from torch import Tensor

from espalier.exact import bradley_terry, win_rate
from espalier.losses import bradley_terry as reward_loss
from espalier.losses.preference import dpo
from papers import Less, Lines, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

ROUNDS = 3
PAPER = Paper(
    id="P294",
    title="RLHF Workflow: From Reward Modeling to Online RLHF",
    claim="with a proxy reward model, trained on open pairs, in the place of people, DPO from the reference on all "
    "pairs so far, round after round, the new ones the best and the worst of the policy's own samples, beats DPO on "
    "pairs made once; each round helps, and the best and worst of eight (exploration) do better than two samples",
    measured="policies with shared features, 12 prompts of 40 responses, a linear proxy fitted to 300 pairs of even "
    "writers: exact win rate against the reference, by the true reward, of DPO on 36 pairs of the reference with true "
    "labels, and after each of three rounds of 12 pairs; as many steps for each",
    rule=[
        Less("win rate, offline", "win rate, round 3"),
        Less("win rate, round 1", "win rate, round 2"),
        Less("win rate, round 2", "win rate, round 3"),
        Less("win rate, two samples", "win rate, round 3"),
    ],
    seeds=20,
    figure=Lines("round", "win rate", {"online": [(number, f"win rate, round {number}") for number in (1, 2, 3)]}),
)
Pairs = tuple[Tensor, Tensor]


def proxy(features: Tensor, pairs: Pairs) -> Tensor:
    """A reward model's scores, linear in the features, fitted to labelled pairs."""
    model = Shared(features, torch.zeros(features.shape[:2], dtype=torch.float64))
    for _ in steps(model, lambda: reward_loss(*of(features @ model.weights, pairs)).mean(), 100, lr=2.0):
        pass
    return (features @ model.weights).detach()


def best_and_worst(law: Tensor, score: Tensor, count: int, chance: torch.Generator) -> Pairs:
    samples = torch.multinomial(law.exp(), count, replacement=True, generator=chance)
    scores = score.gather(1, samples)
    best, worst = (samples.gather(1, pick(1, keepdim=True)) for pick in (scores.argmax, scores.argmin))
    return best, worst


def measure(seed: int, smoke: bool) -> dict[str, float]:
    features, reference, reward = world(seed, dimensions=24, told=1.0)
    preference, count, figures = bradley_terry(reward), 5 if smoke else 25, {}
    score = proxy(features, drawn(torch.zeros_like(reference).log_softmax(-1), reward, 25, seed + 1))

    def train(policy: Shared, pairs: Pairs, count: int) -> float:
        for _ in steps(policy, lambda: dpo(*of(policy() - reference, pairs), 0.1).mean(), count, lr=20.0):
            pass
        return float(win_rate(policy().detach(), reference, preference).mean())

    offline = train(Shared(features, reference), drawn(reference, reward, ROUNDS, seed), ROUNDS * count)
    for samples in (2, 8):
        policy, chance, seen = Shared(features, reference), torch.Generator().manual_seed(seed), []
        for number in range(1, ROUNDS + 1):
            seen.append(best_and_worst(policy().detach(), score, samples, chance))
            chosen, rejected = (torch.cat(side, 1) for side in zip(*seen, strict=True))
            wins = train(policy, (chosen, rejected), count)
            figures[f"win rate, round {number}" if samples == 8 else "win rate, two samples"] = wins
    return {"win rate, offline": offline, **figures}
