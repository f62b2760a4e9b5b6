"""Supervised fine-tuning is implicit reward learning that forgot its KL penalty; other divergences keep it."""

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from espalier.exact import (
    Language,
    Tabular,
    anneal,
    bradley_terry,
    descend,
    expectation,
    kl,
    tilted,
    total_variation,
    win_rate,
)
from espalier.losses.matching import Utility, f_sft, hellinger, linear, pearson
from espalier.losses.preference import dpo
from papers import Above, Below, Less, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

PAPER = Paper(
    id="P155",
    title="Implicit Reward as the Bridge: A Unified View of SFT and DPO Connections",
    claim="supervised fine-tuning matches the expert under a KL penalty that drops out of its loss, where other "
    "f-divergences keep it; a smaller learning rate, or such a divergence, gives a better policy after DPO; and the "
    "log-ratios that it leaves are the values of prefixes",
    measured="exact: total variation of each f-SFT optimum to the policy of least D_f(policy || expert) + beta KL, and "
    "of plain SFT to the expert; rank correlation of a prefix's log-ratio, after SFT on 5000 solved samples, with its "
    "chance of success; policies with shared features, one demonstration a prompt, then ten steps of DPO: win rate "
    "against the base model on prompts not seen",
    rule=[
        Below("distance, pearson", 1e-3),
        Below("distance, hellinger", 1e-3),
        Below("from the expert, linear", 1e-3),
        Above("from the expert, pearson", 0.01),
        Above("values of prefixes", 0.8),
        Less("win rate, SFT", "win rate, SFT at a tenth of the lr"),
        Less("win rate, SFT", "win rate, pearson"),
        Less("win rate, SFT", "win rate, hellinger"),
    ],
    seeds=24,
)
F = {pearson: lambda u: (u - 1).square(), hellinger: lambda u: (u.sqrt() - 1).square()}
SEEN = 12


class Valued(Shared):
    """A policy with the offset that f-SFT learns beside it: the soft value of each prompt."""

    def __init__(self, features: Tensor, reference: Tensor) -> None:
        super().__init__(features, reference)
        self.offset = nn.Parameter(reference.new_zeros(SEEN, 1))


def optima(seed: int) -> dict[str, float]:
    language, beta, figures = Language("ab", 2), 0.5, {}
    expert, reference = (Tabular.random(language, seed + more)().detach() for more in (0, 100))
    for utility in (linear, pearson, hellinger):
        policy = Tabular.of(language, reference)
        policy.offset = nn.Parameter(torch.zeros(1, dtype=torch.float64))

        def matched(policy: Tabular = policy, utility: Utility = utility) -> Tensor:
            return expectation(expert, f_sft(policy() - reference, beta, utility, policy.offset)).mean()

        anneal(policy, matched, steps=100)  # descend alone may leap out of the domain of hellinger
        descend(policy, matched)
        law = policy().detach()
        figures[f"from the expert, {utility.__name__}"] = float(total_variation(law, expert))
        if utility in F:
            best = Tabular.of(language, reference)

            def penalised(best: Tabular = best, utility: Utility = utility) -> Tensor:
                ratio = (best() - expert).exp()
                return (expectation(expert, F[utility](ratio)) + beta * kl(best(), reference)).mean()

            descend(best, penalised)
            figures[f"distance, {utility.__name__}"] = float(total_variation(law, best().detach()))
    return figures


def values(seed: int) -> float:
    """Rank correlation, over prefixes, of what SFT on solved samples adds to them and their chance of success."""
    language, chance = Language("ab", 4), torch.Generator().manual_seed(seed)
    reference = Tabular.random(language, seed)().detach()
    solved = torch.rand(reference.shape, generator=chance, dtype=torch.float64).square()
    samples = torch.multinomial(tilted(reference, solved.log(), 1.0).exp()[0], 5000, True, generator=chance)
    count = torch.bincount(samples, minlength=reference.shape[-1]).double() + 0.01  # so that no string is impossible
    policy = Tabular.of(language, count.log().log_softmax(-1)[None])
    following = [Tabular.of(language, law) for law in (reference, tilted(reference, solved.log(), 1.0))]
    base, true, found = (reach(language, each.next_logprobs()[0].detach()) for each in (*following, policy))
    return float(spearmanr(found - base, true - base).statistic)


def reach(language: Language, following: Tensor) -> Tensor:
    """The log-prob of coming through each prefix but the empty one."""
    come = torch.zeros(language.prefixes, dtype=torch.float64)
    for text in range(1, language.prefixes):
        above, token = divmod(text - 1, len(language.symbols))
        come[text] = come[above] + following[above, token]
    return come[1:]


def measure(seed: int, smoke: bool) -> dict[str, float]:
    figures = {**optima(seed), "values of prefixes": values(seed)}
    features, base, reward = world(seed, dimensions=64, told=1.0, prompts=2 * SEEN)
    reward = reward + 0.5 * base  # what the base model knows
    shown = torch.multinomial(tilted(base, reward, 1 / 0.3).exp(), 1, generator=torch.Generator().manual_seed(seed))[
        :SEEN
    ]
    pairs, preference = drawn(base[:SEEN], reward[:SEEN], 2, seed), bradley_terry(reward)
    for name, utility, lr, beta in (
        ("SFT", linear, 1.0, 1.0),
        ("SFT at a tenth of the lr", linear, 0.1, 1.0),
        ("pearson", pearson, 1.0, 3.0),
        ("hellinger", hellinger, 1.0, 2.0),
    ):
        start = Valued(features, base)

        def matching(start: Valued = start, utility: Utility = utility, beta: float = beta) -> Tensor:
            ratio = (start() - base)[:SEEN].gather(1, shown)
            return f_sft(ratio, beta, utility, start.offset).mean() / beta

        for _ in steps(start, matching, 20 if smoke else 150, lr):
            pass
        reference = start().detach()
        policy = Shared(features, reference)

        def preferring(policy: Shared = policy, reference: Tensor = reference) -> Tensor:
            return dpo(*of((policy() - reference)[:SEEN], pairs), 0.1).mean()

        for _ in steps(policy, preferring, 10, lr=20.0):
            pass
        figures[f"win rate, {name}"] = float(win_rate(policy().detach(), base, preference)[SEEN:].mean())
    return figures
