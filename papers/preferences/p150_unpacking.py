"""Data, algorithm, reward model and prompts as four factors of one pipeline: what each is worth."""

from itertools import product

import torch
from torch import Tensor

from espalier.exact import bradley_terry, expectation, kl, win_rate
from espalier.losses import bradley_terry as reward_loss
from espalier.losses.preference import dpo
from papers import Above, Less, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

PAPER = Paper(
    id="P150",
    title="Unpacking DPO and PPO: Disentangling Best Practices for Learning from Preference Feedback",
    claim="of the four factors of learning from preferences the data matters most, then the algorithm (PPO on a "
    "reward model over DPO on the same pairs), then the reward model, and more prompts least",
    measured="every combination: pairs with 40 % or 10 % of labels wrong; DPO, or the KL-regularised policy gradient "
    "on a reward model; a reward model that sees three quarters or all of what makes a response good; policy prompts "
    "that are those of the pairs, or as many unlabelled ones too. Policies of many shared features, reward models of "
    "few, DPO with the better of two learning rates: mean effect of each factor on the exact win rate on prompts that "
    "no training saw",
    rule=[
        Above("effect of data"),
        Above("effect of algorithm"),
        Above("effect of reward model"),
        Above("effect of prompts"),
        Less("effect of algorithm", "effect of data"),
        Less("effect of reward model", "effect of data"),
        Less("effect of prompts", "effect of data"),
    ],
    seeds=20,
)
DOMAIN, BETA, INFORMATIVE = 8, 0.3, 8
TRAINED, MORE, TEST = slice(0, DOMAIN), slice(0, 2 * DOMAIN), slice(2 * DOMAIN, 3 * DOMAIN)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    # A response is judged by a few of its features; the policy must move all of them.
    features, reference, _ = world(seed, dimensions=64, told=1.0, prompts=3 * DOMAIN)
    seen = features[..., :INFORMATIVE] * (64 / INFORMATIVE) ** 0.5
    taste = torch.randn(INFORMATIVE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    reward = seen @ taste / INFORMATIVE**0.5
    count = 5 if smoke else 40

    def score(pairs: tuple[Tensor, Tensor], sight: int) -> Tensor:
        model = Shared(seen[TRAINED, :, :sight], torch.zeros_like(reference[TRAINED]))
        for _ in steps(
            model, lambda: reward_loss(*of(model.features @ model.weights, pairs)).mean(), 2 * count, lr=1.0
        ):
            pass
        return (seen[..., :sight] @ model.weights).detach()

    def trained(pairs: tuple[Tensor, Tensor], scores: Tensor | None, prompts: slice, lr: float = 5.0) -> float:
        policy = Shared(features, reference)

        def loss() -> Tensor:
            now = policy()
            if scores is None:
                return dpo(*of((now - reference)[TRAINED], pairs), BETA).mean()
            gain = expectation(now, scores) - BETA * kl(now, reference)
            return -gain[prompts].mean()

        for _ in steps(policy, loss, count, lr):
            pass
        return float(win_rate(policy().detach(), reference, bradley_terry(reward))[TEST].mean())

    wins = {}
    for good in (False, True):
        chance = torch.Generator().manual_seed(seed)
        right = drawn(reference[TRAINED], 9 * reward[TRAINED], 12, seed)
        wrong = torch.rand(right[0].shape, generator=chance) < (0.1 if good else 0.4)
        pairs = torch.where(wrong, right[1], right[0]), torch.where(wrong, right[0], right[1])
        direct = max(trained(pairs, None, TRAINED, lr) for lr in (5.0, 20.0))
        for strong, broad in product((False, True), repeat=2):
            scores = score(pairs, INFORMATIVE if strong else INFORMATIVE * 3 // 4)
            wins[good, False, strong, broad] = direct  # DPO has no reward model and no prompts beyond its pairs
            wins[good, True, strong, broad] = trained(pairs, scores, MORE if broad else TRAINED)

    def effect(factor: int, among: list[tuple[bool, ...]]) -> float:
        on, off = ([wins[key] for key in among if key[factor] == side] for side in (True, False))
        return sum(on) / len(on) - sum(off) / len(off)

    every, ppo = list(wins), [key for key in wins if key[1]]
    return {
        "effect of data": effect(0, every),
        "effect of algorithm": effect(1, every),
        "effect of reward model": effect(2, ppo),
        "effect of prompts": effect(3, ppo),
        "win rate, worst": min(wins.values()),
        "win rate, recipe": wins[True, True, True, True],
        **{
            f"win rate, DPO, {'good' if good else 'bad'} data": wins[good, False, False, False]
            for good in (False, True)
        },
    }
