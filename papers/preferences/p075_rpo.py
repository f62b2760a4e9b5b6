"""RPO: the likelihood of the chosen responses, added to DPO, speaks for the worst reward, against over-optimisation."""

import torch
from torch import Tensor, nn

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    anneal,
    bandit,
    bradley_terry,
    descend,
    expectation,
    kl,
    random_reward,
)
from espalier.losses.preference import logistic, margin, rpo
from papers import Below, Less, Paper
from papers.preferences._shared import Shared

PAPER = Paper(
    id="P075",
    title="Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer",
    claim="the policy that minimises DPO plus eta * beta times the baseline's negative log-likelihood is "
    "the maximin policy against the worst reward that explains the data; from pairs that cover few responses it is not "
    "drawn to the others, keeps the chosen responses likely, and ends with more reward than DPO, which over-optimises",
    measured="exact: how much less that policy guarantees against every reward than the best policy could; linear "
    "policies of 50 arms, trained on 100 pairs of 12 of them: log-prob of the chosen arms, mass on arms not seen, and "
    "true reward, at the end and at DPO's best moment",
    rule=[
        Below("duality gap", 1e-6),
        Less("chosen log-prob, DPO", "chosen log-prob, start"),
        Less("chosen log-prob, start", "chosen log-prob, RPO"),
        Less("unseen, RPO", "unseen, DPO"),
        Less("reward, DPO", "reward, RPO"),
    ],
    seeds=20,
)
BETA, ETA = 0.1, 1.0


class Reward(nn.Module):
    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros_like(like))


def duality_gap(language: Language, seed: int) -> float:
    """Best of all policies' guarantees, less RPO's: max over policies of min over rewards of RPO's game.

    The game is `eta * (E_policy[r] - E_chosen[r] - beta * KL(policy || reference)) + the logistic loss of r`.
    """
    reference, reward = Tabular.random(language, seed)().detach(), random_reward(language, seed + 100)
    pairs, policy = Pairs.all(reference, bradley_terry(reward)), Tabular.of(language, reference)

    def loss() -> Tensor:
        ratio = policy() - reference
        return pairs.mean(rpo(*pairs.split(ratio), pairs.split(ratio)[0], BETA, ETA))

    best = descend(policy, loss)  # the least over rewards of the most over policies: no guarantee is greater
    law, worst = policy().detach(), Reward(reward)

    def game() -> Tensor:
        chosen, rejected = pairs.split(worst.value)
        gain = expectation(law, worst.value).mean() - pairs.mean(chosen) - BETA * kl(law, reference).mean()
        return ETA * gain + pairs.mean(logistic(margin(chosen, rejected)))

    return float(best - descend(worst, game))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    arms, chance = 50, torch.Generator().manual_seed(seed)
    features = torch.randn(arms, 12, generator=chance, dtype=torch.float64)
    reference = Tabular.random(bandit(arms), seed)().detach()
    reward = (features @ torch.randn(12, generator=chance, dtype=torch.float64))[None] / 12**0.5
    reward = reward + random_reward(bandit(arms), seed + 100)
    seen = torch.zeros(arms).index_fill(0, torch.randperm(arms, generator=chance)[:12], 1.0)
    reward = reward - 3 * (1 - seen)  # what nobody writes is mostly bad, and no pair says so
    writer = torch.where(seen > 0, reference, -torch.inf).log_softmax(-1)
    law = Pairs.all(writer, bradley_terry(reward))
    drawn = torch.multinomial(law.weight[0], 100, replacement=True, generator=chance)
    pairs = Pairs(law.chosen[drawn], law.rejected[drawn], torch.ones(1, 100, dtype=torch.float64))
    figures = {"duality gap": duality_gap(Language("ab", length=2), seed)}

    for name, eta in (("DPO", 0.0), ("RPO", ETA)):
        policy, rewards = Shared(features[None], reference), []

        def loss(policy: Shared = policy, eta: float = eta) -> Tensor:
            now = policy()
            return pairs.mean(rpo(*pairs.split(now - reference), pairs.split(now)[0], BETA, eta))

        for _ in range(2 if smoke else 12):
            rewards.append(float(expectation(policy().detach(), reward)))
            anneal(policy, loss, steps=25, lr=0.1)
        now = policy().detach()
        figures[f"chosen log-prob, {name}"] = float(pairs.mean(pairs.split(now)[0]))
        figures[f"unseen, {name}"] = float(expectation(now, 1.0 - seen[None]))
        figures[f"reward, {name}"] = float(expectation(now, reward))
        figures[f"reward, {name} at its best"] = max(rewards)
    start = {"chosen log-prob, start": float(pairs.mean(pairs.split(reference)[0]))}
    return figures | start | {"reward, start": float(expectation(reference, reward))}
