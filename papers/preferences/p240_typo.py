"""TYPO: a reference that is right stays, one that is wrong moves, and the weight goes from one to the other."""

import torch

from espalier.exact import Pairs, Tabular, bandit, bradley_terry, descend, random_reward, total_variation
from espalier.losses.preference import dpo, ipo, typo
from papers import Above, Below, Less, Paper

PAPER = Paper(
    id="P240",
    title="New Desiderata for Direct Preference Optimization",
    claim="a loss should leave the policy alone where the reference already agrees with the preferences while it "
    "improves it elsewhere, and should go from the preferences' own policy to the reference as its weight grows; DPO "
    "and IPO can do neither, TYPO does both",
    measured="exact descent on all pairs of three random prompts, five weights a loss. In the first prompt the "
    "reference is the Bradley-Terry policy of the preferences: how far (total variation) a loss moves away from "
    "that, with the weight at which it serves the other two best. In those: distance to that policy at the smallest "
    "weight, to the reference at the largest, and at each loss's best",
    rule=[
        Below("good prompt spoilt, TYPO", 1e-3),
        Above("good prompt spoilt, DPO", 0.01),
        Above("good prompt spoilt, IPO", 0.01),
        Below("from the preferences' policy at weight 0, TYPO", 0.01),
        Above("from the preferences' policy at weight 0, DPO", 0.1),
        Above("from the preferences' policy at weight 0, IPO", 0.1),
        *(Below(f"from the reference at a great weight, {name}", 0.01) for name in ("TYPO", "DPO", "IPO")),
        Less("poor prompts, TYPO", "poor prompts, reference"),
    ],
    seeds=8,
)
WEIGHTS = (1e-4, 0.1, 1.0, 10.0, 1e4)
"""Of TYPO; DPO's beta and IPO's tau are these, between 0.05 (lower ones have no optimum in floating point) and 1000."""


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = bandit(4 if smoke else 6, prompts=3)
    reward, reference = random_reward(language, seed), Tabular.random(language, seed + 100)().detach()
    wanted = reward.log_softmax(-1)  # prefers y to y' as the raters do: with p(y) / (p(y) + p(y'))
    reference[0] = wanted[0]
    pairs = Pairs.all(reference, bradley_terry(reward))

    def reached(name: str, weight: float) -> torch.Tensor:
        policy = Tabular.of(language, reference)

        def loss() -> torch.Tensor:
            now = policy()
            ratio, strength = pairs.split(now - reference), min(max(weight, 0.05), 1000.0)
            if name == "DPO":
                return pairs.mean(dpo(*ratio, beta=strength)) / strength
            if name == "IPO":
                return pairs.mean(ipo(*ratio, tau=strength))
            # A sample of the reference for each pair: its mean, once for each of the prompt's pairs.
            sample = (reference.exp() * now).sum(-1, keepdim=True).expand_as(pairs.weight).flatten()
            return pairs.mean(typo(*pairs.split(now), sample, weight)) / max(1.0, weight)

        descend(policy, loss)
        return policy().detach()

    figures = {"poor prompts, reference": float(total_variation(reference, wanted)[1:].mean())}
    for name in ("TYPO", "DPO", "IPO"):
        laws = [reached(name, weight) for weight in WEIGHTS]
        off = [total_variation(law, wanted) for law in laws]
        best = min(off, key=lambda distance: float(distance[1:].mean()))
        figures[f"poor prompts, {name}"] = float(best[1:].mean())
        figures[f"good prompt spoilt, {name}"] = float(best[0])
        figures[f"from the preferences' policy at weight 0, {name}"] = float(off[0][1:].mean())
        figures[f"from the reference at a great weight, {name}"] = float(total_variation(laws[-1], reference).mean())
    return figures
