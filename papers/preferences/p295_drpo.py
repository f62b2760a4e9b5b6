"""DRPO is right if either its preference model or its reference is: of four ways to be wrong, one hurts."""

from collections.abc import Callable

import torch
from torch import Tensor

from espalier.exact import (
    Language,
    Tabular,
    bradley_terry,
    descend,
    kl,
    random_preference,
    random_reward,
    tilted,
    win_rate,
)
from espalier.losses.preference import dpo, drpo
from papers import Below, Less, Paper

PAPER = Paper(
    id="P295",
    title="Doubly Robust Alignment for Large Language Models",
    claim="the policy that maximises the doubly robust estimate of P(policy beats reference) nears the best one if "
    "the preference model or the reference is right, not both needed; the direct method, importance weighting and DPO "
    "each rest on one of them",
    measured="regret of P(policy beats the writer) with a KL penalty, from 20,000 pairs with cyclic preferences: the "
    "model is the share of wins of each pair or a Bradley-Terry model of another reward, the reference the shares of "
    "the strings or a stranger's law; the same with 1,000 pairs; DPO at the best of three betas",
    rule=[
        *(Below(f"regret, {cell}", 0.01) for cell in ("both right", "model wrong", "reference wrong")),
        Less("regret, model wrong", "regret of few, model wrong"),
        Less("regret, reference wrong", "regret of few, reference wrong"),
        Less("regret, model wrong", "regret, both wrong"),
        Less("regret, reference wrong", "regret, both wrong"),
        Less("regret, model wrong", "regret, direct, model wrong"),
        Less("regret, reference wrong", "regret, weighted, reference wrong"),
        Less("regret, model wrong", "regret, DPO"),
    ],
    seeds=40,
    tried="10 seeds could not tell three of the rules, 40 can. A Bradley-Terry fit on the same data as the "
    "wrong preference model does no harm, since it matches the win rates against the writer; so the wrong "
    "model is one of another reward.",
)
BETA = 0.05


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("ab", length=1 if smoke else 2)
    preference, size = random_preference(language, seed, scale=3.0), len(language.strings)
    writer, stranger = (Tabular.random(language, seed + shift, scale=0.5)().detach() for shift in (100, 200))
    start = Tabular(language)().detach()  # the KL penalty's law, known to everyone
    best = tilted(start, (preference @ writer.exp()[..., None])[..., 0], BETA)
    other = bradley_terry(random_reward(language, seed + 300, scale=2.0))[0]  # of a reward that nobody here has
    chance = torch.Generator().manual_seed(seed)
    both = torch.cartesian_prod(torch.arange(size), torch.arange(size))  # (preferred, other)

    def goal(law: Tensor) -> float:
        return float(win_rate(law, writer, preference) - BETA * kl(law, start))

    def wins_of(pairs: int) -> Tensor:
        """How often each string beat each other one."""
        first, second = torch.multinomial(writer[0].exp(), 2 * pairs, replacement=True, generator=chance).view(2, -1)
        won = torch.rand(pairs, generator=chance, dtype=torch.float64) < preference[0, first, second]
        place = torch.where(won, first * size + second, second * size + first)
        return torch.bincount(place, minlength=size**2).double().view(size, size)

    def robust(wins: Tensor, model: Tensor, reference: Tensor) -> Tensor:
        policy, share = Tabular.of(language, start), wins.flatten() / wins.sum()
        estimate = torch.stack([model[both[:, 0], both[:, 1]], model[both[:, 1], both[:, 0]]], -1)
        won = torch.tensor([[1.0, 0.0]]).double().expand(len(both), 2)

        def loss() -> Tensor:
            law = policy()
            direct = (law[0].exp() @ model)[both]
            return share @ drpo((law - reference)[0, both], won, estimate, direct) + BETA * kl(law, start).sum()

        descend(policy, loss, steps=40)
        return policy().detach()

    def direct(model: Tensor) -> Tensor:
        return tilted(start, (model @ writer.exp()[0])[None], BETA)

    def preferred(wins: Tensor, beta: float) -> Tensor:
        policy = Tabular.of(language, start)
        c, r = both[both[:, 0] != both[:, 1]].T
        descend(
            policy,
            lambda: wins[c, r] @ dpo((policy() - start)[0, c], (policy() - start)[0, r], beta) / wins.sum(),
            steps=60,
        )
        return policy().detach()

    def regrets(pairs: int, *cells: str) -> dict[str, float]:
        models, data = wins_of(pairs), wins_of(pairs)  # the model is fitted to other pairs than it is corrected with
        model = (models + 0.5) / (models + models.T + 1)
        reference = ((models.sum(0) + models.sum(1) + 1) / (2 * pairs + size)).log()[None]
        laws: dict[str, Callable[[], Tensor]] = {
            "both right": lambda: robust(data, model, reference),
            "model wrong": lambda: robust(data, other, reference),
            "reference wrong": lambda: robust(data, model, stranger),
            "both wrong": lambda: robust(data, other, stranger),
            "direct, model wrong": lambda: tilted(start, (other @ reference.exp()[0])[None], BETA),
            "weighted, reference wrong": lambda: robust(data, torch.zeros_like(model), stranger),
            "DPO": lambda: max((preferred(data + 0.5, beta) for beta in (0.1, 0.3, 1.0)), key=goal),
        }
        return {name: goal(best) - goal(laws[name]()) for name in cells or laws}

    many, few = regrets(2000 if smoke else 20_000), regrets(1000, "model wrong", "reference wrong")
    figures = {f"regret, {name}": value for name, value in many.items()}
    return figures | {f"regret of few, {name}": value for name, value in few.items()}
