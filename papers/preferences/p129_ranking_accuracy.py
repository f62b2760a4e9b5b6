"""Preference learning rarely repairs a ranking that the reference has wrong, and the exact optimum would."""

import torch
from torch import Tensor

from espalier.exact import Pairs, Tabular, bandit, bradley_terry, descend, random_reward, win_rate
from espalier.losses.preference import diagnostics, dpo
from papers import Above, Below, Less, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

PAPER = Paper(
    id="P129",
    title="Preference Learning Algorithms Do Not Learn Preference Rankings",
    claim="the exact optimum's ranking accuracy follows from the reference and the raters' agreement, and trained "
    "policies stay far below it: DPO teaches the margin, but flips few of the rankings that the reference has wrong, "
    "those with the smallest error; ranking accuracy follows the win rate only near the reference",
    measured="a table at DPO's optimum: share of pairs ranked as the formula says; policies with shared features, "
    "trained on 120 pairs until DPO's loss is 0.62: ranking accuracy, its idealised value, share of wrong rankings "
    "flipped, and the reference's error (nats) on those flipped and not; then on to 600 steps: correlation of ranking "
    "accuracy with the exact win rate against the reference before that point and after it (0 where it is constant)",
    rule=[
        Above("ranked as the formula says", 0.99),
        Less("ranking accuracy", "idealised accuracy"),
        Less("ranking accuracy", "reward accuracy"),
        Below("flipped", 0.5),
        Less("error of flipped", "error of not flipped"),
        Above("correlation with win rate, early", 0.5),
        Less("correlation with win rate, late", "correlation with win rate, early"),
    ],
    seeds=40,
)
BETA = 0.1


def as_the_formula_says(seed: int) -> float:
    """Of all pairs of a table at DPO's exact optimum."""
    language, beta = bandit(10), 0.5
    reference, reward = Tabular.random(language, seed, scale=3.0)().detach(), random_reward(language, seed + 100)
    agreement, policy = bradley_terry(reward), Tabular.of(language, reference)
    pairs = Pairs.all(torch.zeros_like(reference).log_softmax(-1), agreement)
    descend(policy, lambda: pairs.mean(dpo(*pairs.split(policy() - reference), beta)))
    wins = agreement[0, pairs.chosen, pairs.rejected]
    formula = diagnostics.ideally_ranked(*pairs.split(reference), wins, beta)
    return float((formula == diagnostics.ranked(*pairs.split(policy().detach()))).double().mean())


def correlation(first: Tensor, second: Tensor) -> float:
    constant = min(len(first), len(second)) < 3 or first.std() == 0 or second.std() == 0
    return 0.0 if constant else float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def measure(seed: int, smoke: bool) -> dict[str, float]:
    # The reference's log-probs are as spread out as those of whole responses are.
    features, reference, reward = world(seed, dimensions=32, told=0.2, spread=3.0)
    preference, rows = bradley_terry(reward), torch.arange(len(reference))[:, None]
    one, two = drawn(torch.zeros_like(reference).log_softmax(-1), reward, 10, seed)
    most = preference[rows, one, two] > 0.5
    pairs = torch.where(most, one, two), torch.where(most, two, one)  # as most raters say
    agreement = preference[rows, *pairs].flatten()
    policy, curve, stop = Shared(features, reference), [], 0
    found = reference

    def loss() -> Tensor:
        return dpo(*of(policy() - reference, pairs), BETA).mean()

    for number in steps(policy, loss, 60 if smoke else 600, lr=5.0):
        if number % 10:
            continue
        law = policy().detach()
        accuracy = float(diagnostics.ranked(*of(law, pairs)).double().mean())
        curve.append((accuracy, float(win_rate(law, reference, preference).mean())))
        if float(loss().detach()) > 0.62:
            found, stop = law, len(curve)
    was, right = diagnostics.ranked(*of(reference, pairs)), diagnostics.ranked(*of(found, pairs))
    chosen, rejected = of(reference, pairs)
    error, fixed, left = rejected - chosen, right & ~was, ~right & ~was
    accuracies, wins = torch.tensor(curve).T
    return {
        "ranked as the formula says": as_the_formula_says(seed),
        "ranking accuracy, reference": float(was.double().mean()),
        "ranking accuracy": float(right.double().mean()),
        "reward accuracy": float(diagnostics.ranked(*of(found - reference, pairs)).double().mean()),
        "idealised accuracy": float(diagnostics.ideally_ranked(chosen, rejected, agreement, BETA).double().mean()),
        "flipped": float(fixed[~was].double().mean()),
        "error of flipped": float(error[fixed].mean()) if fixed.any() else 0.0,
        "error of not flipped": float(error[left].mean()),
        "correlation with win rate, early": correlation(accuracies[:stop], wins[:stop]),
        "correlation with win rate, late": correlation(accuracies[stop:], wins[stop:]),
    }
