"""PMPO: learn from what was accepted, from what was rejected, or from both, with no pairs at all."""

import torch
from torch import Tensor, nn

from espalier.exact import Policy, Tabular, anneal, bandit, descend, expectation, random_reward, total_variation
from espalier.losses.preference import pmpo
from papers import Below, Less, Paper

PAPER = Paper(
    id="P197",
    title="Preference Optimization as Probabilistic Inference",
    claim="rejected samples alone teach a policy, as long as KL(reference || policy) holds it (with the right weight "
    "they have the optimum of the accepted ones), and without that it collapses; both signs together teach most",
    measured="exact: distance of the optimum for rejected responses alone, at beta = (1 - alpha) / their share, to the "
    "law of accepted ones; a Gaussian over 51 arms in a row, a smooth random reward with its peak off centre, 3 rounds "
    "of 8 samples whose better half is accepted, the reference renewed each round: mean reward for accepted only, "
    "rejected only and both, each at the better of two betas, and for rejected only with beta 0",
    rule=[
        Below("distance of the rejected's optimum to the accepted law", 1e-3),
        Less("reward, start", "reward, rejected only"),
        Less("reward, rejected only, beta 0", "reward, rejected only"),
        Less("reward, accepted only", "reward, both"),
        Less("reward, rejected only", "reward, both"),
    ],
    seeds=30,
)
PLACE = torch.linspace(-5, 5, 51, dtype=torch.float64)
BETAS = {
    "accepted only": (1.0, (0.0, 0.5)),
    "rejected only": (0.0, (2.0, 3.0)),
    "both": (0.5, (0.5, 0.75)),
}


class Gaussian(Policy):
    """A bell over the arms, of which the middle and the width are trained."""

    def __init__(self) -> None:
        super().__init__(bandit(len(PLACE)))
        self.middle, self.width = nn.Parameter(torch.zeros(()).double()), nn.Parameter(torch.zeros(()).double())

    def next_logprobs(self) -> Tensor:
        width = self.width.exp().clamp(0.1, 3.0)  # an arm's breadth to all of them
        return (-(((PLACE - self.middle) / width) ** 2) / 2).log_softmax(-1)[None, None]


def distance(seed: int) -> float:
    """Between the law of accepted responses and what all rejected ones alone teach."""
    language, none = bandit(8), torch.zeros(8, dtype=torch.bool)
    reference, accepted = Tabular.random(language, seed)().detach(), random_reward(language, seed + 100).sigmoid()
    rejected, policy = (reference + (1 - accepted).log()).exp(), Tabular.of(language, reference)
    share = float(rejected.sum())

    def loss() -> Tensor:
        kl = expectation(reference, reference - policy()).expand(8)
        return (rejected[0] / share * pmpo(policy()[0], none, kl, alpha=0.0, beta=1 / share, share=0.0)).sum()

    descend(policy, loss)
    return float(total_variation(policy().detach(), (reference + accepted.log()).log_softmax(-1)).max())


def trained(reward: Tensor, alpha: float, beta: float, rounds: int, seed: int) -> float:
    policy, chance = Gaussian(), torch.Generator().manual_seed(seed)
    for _ in range(rounds):
        reference = policy().detach()
        drawn = torch.multinomial(reference[0].exp(), 8, replacement=True, generator=chance)
        liked = reward[drawn].argsort().argsort() >= 4
        used = (liked & (alpha > 0)) | (~liked & (alpha < 1))
        share = float(liked[used].double().mean())

        def loss() -> Tensor:
            now = policy()
            kl = expectation(reference, reference - now).expand(len(drawn))  # noqa: B023
            return pmpo(now[0, drawn], liked, kl, alpha, beta, share)[used].mean()  # noqa: B023

        anneal(policy, loss, steps=12, lr=0.1)
    return float(expectation(policy()[0].detach(), reward))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    chance = torch.Generator().manual_seed(seed)
    peak = 2.0 if seed % 2 else -2.0
    waves = torch.randn(3, generator=chance, dtype=torch.float64) / 4
    reward = -((PLACE - peak) ** 2) / 2 + sum(w * torch.sin((k + 1) * PLACE) for k, w in enumerate(waves))
    rounds = 2 if smoke else 3
    return {
        f"reward, {name}": max(trained(reward, alpha, beta, rounds, seed) for beta in betas)
        for name, (alpha, betas) in BETAS.items()
    } | {
        "distance of the rejected's optimum to the accepted law": distance(seed),
        "reward, start": float(expectation(Gaussian()()[0].detach(), reward)),
        "reward, rejected only, beta 0": trained(reward, 0.0, 0.0, rounds, seed),
    }
