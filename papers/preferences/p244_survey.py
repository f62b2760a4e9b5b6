"""One preference tuning for text, speech units and pictures: it takes the log-probs of outputs and nothing else."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Generator, Tensor, nn

from espalier.exact import Language, Tabular, anneal, random_reward
from espalier.losses import reinforce
from espalier.losses.preference import dpo, ipo, kto
from papers import Above, Paper

METHODS, KINDS = ("policy gradient", "DPO", "IPO", "KTO"), ("text", "speech", "picture")
PAPER = Paper(
    id="P244",
    title="Preference Tuning with Human Feedback on Language, Speech, and Vision Tasks: A Survey",
    claim="the methods of preference tuning, by reinforcement learning or straight from pairs, are the same whatever "
    "is produced: each of them tunes a language model, a model of speech units and a generator of pictures",
    measured="one function of log-probs for a policy gradient with a KL penalty, DPO, IPO and KTO, on 1024 pairs of "
    "the reference with one label each (the policy gradient: new samples and a reward), for a table over strings, "
    "12 codec streams with a softmax each, and a Gaussian over 32 pixels: win rate against the reference; for pictures "
    "also the cosine of DPO's shift with that of the closed-form optimum",
    rule=[
        *(Above(f"win rate, {kind}, {method}", 0.55) for kind in KINDS for method in METHODS),
        Above("cosine to the optimum, picture, DPO", 0.9),
    ],
    seeds=6,
)
BETA = 0.5


class Text(nn.Module):
    """Strings: a softmax after each prefix. An output is the number of a string."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.policy = Tabular.random(Language("abc", 3), seed)
        self.worth = 1.5 * random_reward(self.policy.language, seed + 100)[0]

    def draw(self, count: int, chance: Generator) -> Tensor:
        return torch.multinomial(self.policy()[0].exp().detach(), count, True, generator=chance)

    def logprob(self, outputs: Tensor) -> Tensor:
        return self.policy()[0][outputs]

    def reward(self, outputs: Tensor) -> Tensor:
        return self.worth[outputs]


class Speech(nn.Module):
    """Codec units in parallel streams. An output has a unit for each."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        chance = Generator().manual_seed(seed)
        self.logits = nn.Parameter(torch.randn(12, 16, generator=chance, dtype=torch.float64))
        self.worth = torch.randn(12, 16, generator=chance, dtype=torch.float64) / 2

    def draw(self, count: int, chance: Generator) -> Tensor:
        return torch.multinomial(self.logits.softmax(-1).detach(), count, True, generator=chance).T

    def logprob(self, outputs: Tensor) -> Tensor:
        return self.logits.log_softmax(-1).gather(1, outputs.T).sum(0)

    def reward(self, outputs: Tensor) -> Tensor:
        return self.worth.gather(1, outputs.T).sum(0)


class Picture(nn.Module):
    """Pixels, as a diffusion model's last step draws them: a Gaussian around a picture."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        chance = Generator().manual_seed(seed)
        self.mean = nn.Parameter(torch.randn(32, generator=chance, dtype=torch.float64))
        self.worth = torch.randn(32, generator=chance, dtype=torch.float64) / 32**0.5

    def draw(self, count: int, chance: Generator) -> Tensor:
        return self.mean.detach() + torch.randn(count, 32, generator=chance, dtype=torch.float64)

    def logprob(self, outputs: Tensor) -> Tensor:
        return torch.distributions.Normal(self.mean, 1.0).log_prob(outputs).sum(-1)

    def reward(self, outputs: Tensor) -> Tensor:
        return 1.5 * outputs @ self.worth


Kind = Text | Speech | Picture


def objective(method: str, policy: Kind, reference: Kind, count: int, chance: Generator) -> Callable[[], Tensor]:
    """The loss of a method. Nothing in it knows what an output is."""
    outputs = reference.draw(2 * count, chance)
    first, second = outputs[:count], outputs[count:]
    wins = torch.sigmoid(reference.reward(first) - reference.reward(second))
    won = torch.rand(count, generator=chance, dtype=torch.float64) < wins
    best, worst = torch.arange(count) + count * ~won, torch.arange(count) + count * won
    old = reference.logprob(outputs).detach()

    def pairs() -> Tensor:
        ratio = policy.logprob(outputs) - old
        if method == "KTO":
            liked = torch.zeros(2 * count, dtype=torch.bool).index_fill(0, best, True)
            return kto(ratio, liked, reference_point=0.0, beta=BETA).mean()
        return (
            dpo(ratio[best], ratio[worst], BETA) if method == "DPO" else ipo(ratio[best], ratio[worst], tau=0.2)
        ).mean()

    def online() -> Tensor:
        new = policy.draw(count, chance)
        logprob = policy.logprob(new)
        gain = reference.reward(new) - BETA * (logprob.detach() - reference.logprob(new).detach())
        return reinforce(logprob, gain - gain.mean()).mean()

    return online if method == "policy gradient" else pairs


def measure(seed: int, smoke: bool) -> dict[str, float]:
    figures = {}
    for kind, make in zip(KINDS, (Text, Speech, Picture), strict=True):
        reference = make(seed)
        for method in METHODS:
            policy, chance = deepcopy(reference), Generator().manual_seed(seed)
            loss = objective(method, policy, reference, 128 if smoke else 1024, chance)
            anneal(policy, loss, steps=15 if smoke else 60, lr=0.05)
            ours, theirs = (reference.reward(each.draw(4000, chance)) for each in (policy, reference))
            figures[f"win rate, {kind}, {method}"] = float(torch.sigmoid(ours - theirs).mean())
            if isinstance(policy, Picture) and method == "DPO":
                shift = (policy.mean - reference.mean).detach()  # the optimum's is the reward's gradient over beta
                cosine = torch.cosine_similarity(shift, policy.worth, dim=0)
                figures["cosine to the optimum, picture, DPO"] = float(cosine)
    return figures
