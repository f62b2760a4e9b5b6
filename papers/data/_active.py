"""Which pairs to have labelled: one testbed for P165, which picks small margins, and P188, which picks large ones.

Policies are log-linear. In each round every prompt offers a pair of the policy's own responses, some pairs are
labelled, and DPO is fitted to all labels so far, from the reference on. About the policy a pair tells `p (1 - p)` times
the square of its difference of features. Small margins have more of the first, large ones of the second, so that the
world decides:

    alike    all pairs are about equally unlike, and raters see every difference: only p (1 - p) is left to choose by
    unlike   many pairs are near duplicates (the log of the size of a prompt's differences has a standard deviation of
             1.5) and raters are noisy: a small margin mostly is a duplicate, about which raters toss a coin
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from espalier.curation import by_margin, certain_among_uncertain, predictive_entropy
from espalier.exact import descend
from espalier.losses.preference import dpo

BETA, RIDGE, TEST, ARMS, ROUNDS, LABELS = 0.5, 0.5, 100, 8, 6, 10
Pick = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the entropies and the margins of the prompts on offer (in random order) to the order in which to take them."""

PICKS: dict[str, Pick] = {
    "random": lambda entropy, margins: np.arange(len(margins)),
    "small": lambda entropy, margins: by_margin(margins, "small"),
    "certain": lambda entropy, margins: by_margin(margins, "large"),
    "union": lambda entropy, margins: by_margin(margins, "both"),
    "entropy, then certain": lambda entropy, margins: certain_among_uncertain(
        entropy, margins, prompts=len(margins) // 2, count=len(margins) // 2
    ),
}
WORLDS = {"alike": (0.0, 0.05, 8), "unlike": (1.5, 1.5, 4)}
"""How unlike pairs are in size, the raters' noise, and how many problems a seed has."""


class World(NamedTuple):
    """Several problems at once, which share nothing.

    Attributes:
        features: [problems, prompts, arms, dimensions].
        reference: log-probs, [problems, prompts, arms].
        reward: linear in the features, [problems, prompts, arms].
        noise: raters prefer by `sigmoid(difference of rewards / noise)`.
    """

    features: Tensor
    reference: Tensor
    reward: Tensor
    noise: float


def world(seed: int, spread: float, noise: float, problems: int, dimensions: int = 20, offered: int = 350) -> World:
    """Random problems; the first `TEST` prompts of each are not offered but tested on."""
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=chance, dtype=torch.float64)

    prompts = TEST + offered
    features = draw(problems, prompts, ARMS, dimensions) * 2 / dimensions**0.5
    features = (features - features.mean(2, keepdim=True)) * (spread * draw(problems, prompts, 1, 1)).exp()
    reward = torch.einsum("bpad,bd->bpa", features, draw(problems, dimensions))
    return World(features, draw(problems, prompts, ARMS).log_softmax(-1), reward, noise)


def learn(given: World, seed: int, runs: Sequence[tuple[Pick, Sequence[int]]]) -> Tensor:
    """Win rates against the reference on the test prompts, after each round: [runs, rounds], the mean over problems.

    Args:
        runs: how to pick, and how many labels each round has. No margin is known before the first labels, so the first
            round picks at random. Chance is the same for all runs.
    """
    problems, prompts, _, size = given.features.shape
    chance = torch.Generator().manual_seed(seed)
    weights = nn.Parameter(torch.zeros(len(runs), problems, size, dtype=torch.float64))
    most = max(sum(budget) for _, budget in runs)
    told = torch.zeros(len(runs), problems, most, size, dtype=torch.float64)  # features: chosen - rejected
    better = (given.reward[:, :TEST, :, None] > given.reward[:, :TEST, None]).double() + torch.eye(ARMS) / 2
    curves = []

    def laws() -> Tensor:
        ratio = torch.einsum("bpad,rbd->rbpa", given.features, weights.detach())
        return (given.reference + ratio).log_softmax(-1)

    def loss() -> Tensor:
        margin = torch.einsum("rbnd,rbd->rbn", told, weights)  # an empty place has the margin 0, whatever the weights
        return dpo(margin, torch.zeros_like(margin), BETA).sum() + RIDGE * weights.square().sum() / 2

    for number in range(len(runs[0][1])):
        uniform = torch.rand(4, problems, prompts - TEST, generator=chance, dtype=torch.float64)
        now = laws()[:, :, TEST:]
        for run, (pick, budget) in enumerate(runs):
            take = PICKS["random"] if number == 0 else pick
            for problem in range(problems):
                new = labelled(given, problem, now[run, problem], weights[run, problem].detach(), uniform, take)
                start = sum(budget[:number])
                told[run, problem, start : start + budget[number]] = new[: budget[number]]
        descend(nn.ParameterList([weights]), loss, steps=100, tolerance=1e-4)
        wins = torch.einsum("rbpi,bpij,bpj->rb", laws()[:, :, :TEST].exp(), better, given.reference[:, :TEST].exp())
        curves.append(wins.mean(1) / TEST)
    return torch.stack(curves, 1)


def labelled(given: World, problem: int, law: Tensor, weights: Tensor, uniform: Tensor, pick: Pick) -> Tensor:
    """The pairs on offer, in the order of picking and with their labels: features of the chosen less the rejected."""
    mass = law.exp().cumsum(-1)
    one, two = ((mass < draw[problem, :, None] * mass[:, -1:]).sum(-1) for draw in uniform[:2])
    there = uniform[3, problem].argsort()
    there = there[(one != two)[there]]
    one, two = one[there], two[there]
    features, reward = given.features[problem, TEST:][there], given.reward[problem, TEST:][there]
    rows = torch.arange(len(there))
    difference, gap = features[rows, one] - features[rows, two], reward[rows, one] - reward[rows, two]
    entropy = predictive_entropy(torch.stack([law[there, one], law[there, two]], -1).numpy())
    order = pick(entropy, (BETA * difference @ weights).numpy())
    wins = uniform[2, problem, there] < torch.sigmoid(gap / given.noise)
    return torch.where(wins[:, None], difference, -difference)[order]


def curves(seed: int, smoke: bool, picks: Sequence[str]) -> dict[str, Tensor]:
    """`"alike: small"` and so on: the win rate after each round."""
    rounds, found = 2 if smoke else ROUNDS, {}
    for name, (spread, noise, problems) in WORLDS.items():
        given = world(seed, spread, noise, 1 if smoke else problems)
        wins = learn(given, seed, [(PICKS[pick], [LABELS] * rounds) for pick in picks])
        found.update({f"{name}: {pick}": curve for pick, curve in zip(picks, wins, strict=True)})
    return found
