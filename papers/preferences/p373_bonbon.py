"""Best-of-n is nearly the best that can be done for its KL, and a policy learns it from best and worst samples."""

import torch
from torch import Tensor

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    anneal,
    best_of_n,
    kl,
    kl_bound,
    random_reward,
    tilted,
    total_variation,
    win_rate,
)
from espalier.losses.preference import bonbon, dpo
from papers import Above, Below, Less, Lines, Near, Paper

SIZES = (2, 4, 8, 16)
PAPER = Paper(
    id="P373",
    title="BoNBoN Alignment for Large Language Models and the Sweetness of Best-of-n Sampling",
    claim="best-of-n wins n/(n+1) at a KL of log n - (n-1)/n, and no policy of that KL wins much more often; BoNBoN "
    "mimics it from the best and the worst of n samples, more closely than DPO on those pairs at any beta and with no "
    "beta to tune: it wins as often, and loses less win rate for its KL than DPO",
    measured="exact laws over 1024 strings for four n: win rate, KL, and the win rate that the best policy of the same "
    "KL adds; exact training on all (best, worst) pairs of 64 strings at n = 4: total variation to best-of-n (DPO: the "
    "least of four betas), win rate, and what is lost for its KL (DPO: at beta = 0.1)",
    rule=[
        *(Near(f"win rate, n={n}", n / (n + 1), within=0.01) for n in SIZES),
        *(Near(f"KL, n={n}", kl_bound(n), within=0.05) for n in SIZES),
        *(Below(f"left to gain, n={n}", 0.01) for n in SIZES),
        Above("win rate, BoNBoN", 0.8),
        Less("distance from best-of-n, BoNBoN", "distance from best-of-n, DPO"),
        Less("lost, BoNBoN", "lost, DPO"),
    ],
    figure=Lines(
        "n",
        "win rate against the reference",
        {
            "best-of-n": [(n, f"win rate, n={n}") for n in SIZES],
            "best at this KL": [(n, f"best, n={n}") for n in SIZES],
        },
        log=True,
    ),
    tried="The first rule asked BoNBoN to win exactly as often as best-of-n, 0.8 +- 0.03 at n = 4, and failed: it wins "
    "0.834. That is more than the paper says (it shows a model that comes near best-of-n and drifts less than others "
    "for its win rate), and the theory says no such thing: the squared term asks every (best, worst) pair for the mean "
    "gap, where best-of-n's own gaps differ from pair to pair, so its minimiser is another law. With alpha = 0, "
    "0.005, 0.05, 0.5, 0.9 and 1 (seed 0) it wins 0.833, 0.833, 0.833, 0.832, 0.822 and 0.800, at a KL of 0.85, 0.85, "
    "0.85, 0.84, 0.77 and 0.64 (best-of-n has 0.64), 0.095, 0.095, 0.094, 0.085, 0.052 and 0.0001 in total variation "
    "from best-of-n; alpha = 1 is imitation alone, which with every string's probability known needs no help: that "
    "BoNBoN beats it from few samples is not tested here. IPO with tau = 0.1 is almost the same loss at n = 4 (target "
    "5 for 5.5). The rule now asks for what the paper says; the figures are the same.",
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    reference, reward, wins = problem(Language("abcd", 3 if smoke else 5, end=False), seed)
    for n in SIZES:
        law = best_of_n(reference, reward, n)
        figures[f"win rate, n={n}"] = float(win_rate(law, reference, wins))
        figures[f"KL, n={n}"] = float(kl(law, reference))
        figures[f"best, n={n}"] = best(reference, wins, figures[f"KL, n={n}"])
        figures[f"left to gain, n={n}"] = figures[f"best, n={n}"] - figures[f"win rate, n={n}"]

    language = Language("abcd", 3, end=False)
    reference, reward, wins = problem(language, seed)
    pairs = best_and_worst(reference, reward, 4)
    target, distances = best_of_n(reference, reward, 4), []
    for beta in (0.0, 1.0, 0.3, 0.03, 0.1):  # 0 is BoNBoN, which has none
        policy = Tabular.of(language, reference)

        def loss(policy: Tabular = policy, beta: float = beta) -> Tensor:
            law = policy()
            chosen, rejected = pairs.split(law - reference)
            if beta:
                return pairs.mean(dpo(chosen, rejected, beta))
            return pairs.mean(bonbon(chosen, rejected, pairs.split(law)[0], n=4, alpha=0.005))

        anneal(policy, loss, steps=30 if smoke else 400)
        law, name = policy().detach(), "DPO" if beta else "BoNBoN"
        distances.append(float(total_variation(law, target)))
        figures[f"win rate, {name}"] = float(win_rate(law, reference, wins))
        figures[f"lost, {name}"] = best(reference, wins, float(kl(law, reference))) - figures[f"win rate, {name}"]
    return figures | {
        "distance from best-of-n, BoNBoN": distances[0],
        "distance from best-of-n, DPO": min(distances[1:]),
    }


def problem(language: Language, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A reference, a reward, and the preference for the higher reward."""
    reference = Tabular.random(language, seed, scale=0.5)().detach()
    reward = random_reward(language, seed + 100)
    return reference, reward, (torch.sign(reward[..., :, None] - reward[..., None, :]) + 1) / 2


def best(reference: Tensor, wins: Tensor, spent: float) -> float:
    """The highest win rate at this KL: that of the reference tilted by win rates, its strength found by bisection."""
    gain = (wins @ reference.exp()[..., None])[..., 0]
    low, high = -9.0, 9.0  # of log beta: the smaller beta, the larger the KL
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if kl(tilted(reference, gain, 2.718**middle), reference) > spent else (low, middle)
    return float(win_rate(tilted(reference, gain, 2.718**low), reference, wins))


def best_and_worst(reference: Tensor, reward: Tensor, n: int) -> Pairs:
    """Every (best, worst) of n samples with its probability, by inclusion and exclusion on the sorted rewards."""
    order = reward[0].argsort()
    below = torch.cat([torch.zeros(1).double(), reference[0, order].exp().cumsum(0)])
    between = (below[None, 1:] - below[:-1, None]).clamp(min=0)  # [worst, best]: the mass from worst up to best
    inside = torch.nn.functional.pad(between, (1, 0, 0, 1)) ** n  # [worst, best + 1]: the chance that all n lie there
    joint = inside[:-1, 1:] - inside[:-1, :-1] - inside[1:, 1:] + inside[1:, :-1]
    worst, top = torch.triu(torch.ones_like(joint), 1).nonzero(as_tuple=True)
    return Pairs(order[top], order[worst], joint[worst, top][None])
