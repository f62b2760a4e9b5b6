"""DNO: each round regresses on win rates over the last policy; together the rounds play a Nash equilibrium."""

from itertools import pairwise

import torch
from torch import Tensor

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    anneal,
    bradley_terry,
    descend,
    exploitability,
    random_preference,
    random_reward,
    win_rate,
)
from espalier.losses.preference import dno, dpo
from papers import Above, Below, Less, Paper

PAPER = Paper(
    id="P080",
    title="Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences",
    claim="contrastive regression on the win rates over the last policy betters it every round and comes to the Nash "
    "equilibrium of a preference with cycles, in the mean of the rounds, where no DPO policy does; in practice, DPO on "
    "pairs of large margin sampled each round, the win rate over the first policy rises round after round",
    measured="exact rounds on a cyclic game (pairs of the last policy with the first): least win rate of a round over "
    "the last, exploitability of the mean of all rounds and of DPO at the best of three betas; sampled rounds (best "
    "and worst of 5, their win-rate gap at least 0.2) on a preference half reward, half cycles: win rates over the "
    "first policy, and of DPO that stays with the first policy's pairs for as many steps",
    rule=[
        Above("least win rate over the last round", 0.4999),
        Below("exploitability, mean of rounds", 0.05),
        Less("exploitability, mean of rounds", "exploitability, DPO"),
        Above("win rate, round 1", 0.5),
        Less("win rate, round 1", "win rate, round 3"),
        Less("win rate, round 3", "win rate, round 6"),
        Less("win rate, DPO on first pairs", "win rate, round 6"),
    ],
    seeds=8,
    tried="The mean of 60 rounds had an exploitability of 0.052 [0.039, 0.065] over 6 seeds; that of 120 rounds on "
    "pairs of the last policy alone 0.043 [0.018, 0.068] over 8, because pairs of strings that it has all but given up "
    "weigh too little to be fitted in a few steps. Pairs with the first policy (the paper mixes in other texts too) "
    "make the rounds those of the closed form. The last round is no equilibrium: it circles, at 0.2 on average.",
)
ETA, BETA = 1.0, 0.5


def measure(seed: int, smoke: bool) -> dict[str, float]:
    game = Language("ab", length=1 if smoke else 2)
    preference, start = random_preference(game, seed, scale=3.0), Tabular.random(game, seed + 100)().detach()
    laws = [start]
    for _ in range(10 if smoke else 120):
        law = laws[-1]
        policy, wins = Tabular.of(game, law), (preference @ law.exp()[..., None])[..., 0]
        pairs = Pairs.all(law, torch.ones_like(preference), start)  # with texts of the first, so that none is lost
        rates = pairs.split(wins)
        descend(policy, lambda: pairs.mean(dno(*pairs.split(policy() - law), *rates, ETA)), steps=20)  # noqa: B023
        laws.append(policy().detach())

    def offline(beta: float) -> Tensor:
        policy, pairs = Tabular.of(game, start), Pairs.all(start, preference)
        descend(policy, lambda: pairs.mean(dpo(*pairs.split(policy() - start), beta)), steps=200)
        return policy().detach()

    gains = [float(win_rate(new, old, preference)) for old, new in pairwise(laws)]
    mean = torch.stack(laws).exp().mean(0).log()
    return {
        "least win rate over the last round": min(gains),
        "exploitability, mean of rounds": float(exploitability(mean, preference)),
        "exploitability, last round": float(exploitability(laws[-1], preference)),
        "exploitability, DPO": min(float(exploitability(offline(beta), preference)) for beta in (0.1, 0.3, 1.0)),
        **practical(seed, smoke),
    }


def practical(seed: int, smoke: bool) -> dict[str, float]:
    """DNO-Prct: sample, keep the surest pairs, take DPO steps from the last policy."""
    language = Language("ab", length=2 if smoke else 4)
    logits = (
        bradley_terry(random_reward(language, seed + 200)).logit() + random_preference(language, seed + 300).logit()
    )
    preference, start = logits.sigmoid(), Tabular.random(language, seed + 400)().detach()
    chance, figures, law, fixed = torch.Generator().manual_seed(seed), {}, start, Tabular.of(language, start)

    def sampled(law: Tensor) -> tuple[Tensor, Tensor]:
        group = torch.multinomial(law[0].exp().expand(200, -1), 5, replacement=True, generator=chance)
        wins = preference[0][group[:, :, None], group[:, None, :]].mean(-1)
        sure = wins.amax(1) - wins.amin(1) >= 0.2
        best, worst = (group.gather(1, place(1, keepdim=True))[sure, 0] for place in (wins.argmax, wins.argmin))
        return best, worst

    def step(policy: Tabular, last: Tensor, pairs: tuple[Tensor, Tensor]) -> None:
        best, worst = pairs

        def loss() -> Tensor:
            progress = (policy() - last)[0]
            return dpo(progress[best], progress[worst], BETA).mean()

        anneal(policy, loss, steps=20, lr=0.05)

    first = sampled(start)
    for number in range(1, 7):
        policy = Tabular.of(language, law)
        step(policy, law, sampled(law))
        step(fixed, start, first)
        law = policy().detach()
        figures[f"win rate, round {number}"] = float(win_rate(law, start, preference))
    return figures | {"win rate, DPO on first pairs": float(win_rate(fixed().detach(), start, preference))}
