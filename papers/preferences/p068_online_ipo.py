"""IPO on the policy's own pairs is self-play: the same gradient, so the same end, the regularised Nash equilibrium."""

import torch
from torch import Tensor

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    anneal,
    descend,
    kl,
    random_preference,
    regularised_gap,
    regularised_nash,
    total_variation,
    win_rate,
)
from espalier.losses.preference import ipo, online_ipo
from papers import Above, Below, Near, Paper

PAPER = Paper(
    id="P068",
    title="Human Alignment of Large Language Models through Online Preference Optimisation",
    claim="online IPO's expected gradient points along self-play's in the KL-regularised preference game, so it finds "
    "the game's Nash equilibrium, also where preferences have cycles; IPO on the reference's pairs does not",
    measured="cosine of the two gradients at a random policy; after exact descent, total variation to the equilibrium "
    "and the duality gap, in win rate, of online and of offline IPO",
    rule=[
        Near("cosine", 1.0, within=1e-9),
        Below("distance, online", 1e-3),
        Below("gap, online", 1e-4),
        Above("gap, offline", 1e-3),
    ],
)
TAU = 0.2


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("ab", length=1 if smoke else 2)
    preference = random_preference(language, seed, scale=3.0)
    reference = Tabular.random(language, seed + 100)().detach()

    def online(policy: Tabular) -> Tensor:
        pairs = Pairs.all(policy(), torch.ones_like(preference))  # which of the two is called chosen is a coin toss
        label = preference[:, pairs.chosen, pairs.rejected].flatten()
        return pairs.mean(online_ipo(*pairs.split(policy() - reference), label, TAU))

    def self_play(policy: Tabular) -> Tensor:
        law = policy()
        return (TAU * kl(law, reference) - win_rate(law, law.detach(), preference)).sum()

    def gradient(loss: Tensor, policy: Tabular) -> Tensor:
        return torch.autograd.grad(loss, policy.logits)[0].flatten()

    anyone, fixed = Tabular.random(language, seed + 200), Pairs.all(reference, preference)
    at_once, offline = Tabular.of(language, reference), Tabular.of(language, reference)
    anneal(at_once, lambda: online(at_once), steps=300 if smoke else 1500, lr=0.02, momentum=0.0)
    descend(offline, lambda: fixed.mean(ipo(*fixed.split(offline() - reference), TAU)))
    nash = regularised_nash(reference, preference, TAU)
    gradients = gradient(online(anyone), anyone), gradient(self_play(anyone), anyone)
    return {
        "cosine": float(torch.cosine_similarity(*gradients, dim=0)),
        "distance, online": float(total_variation(at_once().detach(), nash)),
        "gap, online": float(regularised_gap(at_once().detach(), reference, preference, TAU)),
        "gap, offline": float(regularised_gap(offline().detach(), reference, preference, TAU)),
    }
