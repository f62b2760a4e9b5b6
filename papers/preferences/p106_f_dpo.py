"""Every invertible divergence has its DPO: fit preferences with f'(policy / reference) and find the tilted optimum."""

from espalier.exact import (
    Divergence,
    Language,
    Pairs,
    Tabular,
    bradley_terry,
    descend,
    entropy,
    expectation,
    f_optimum,
    random_reward,
    total_variation,
)
from espalier.losses.preference import core, f_dpo
from papers import Below, Less, Paper

PAPER = Paper(
    id="P106",
    title="Beyond Reverse KL: Generalizing Direct Preference Optimization with Diverse Divergence Constraints",
    claim="DPO with f'(policy / reference) in place of the log-ratio has the f-regularised optimum, for reverse and "
    "forward KL, Jensen-Shannon and alpha divergences, and the divergence moves the trade-off of reward and diversity",
    measured="exact descent on all pairs of a random language: total variation to the closed form of each divergence; "
    "mean reward and entropy at one beta",
    rule=[
        *(Below(f"distance, {name}", 1e-3) for name in ("reverse_kl", "js", "alpha", "forward_kl")),
        Less("reward, forward_kl", "reward, reverse_kl"),
        Less("entropy, reverse_kl", "entropy, forward_kl"),
    ],
    seeds=40,
)

SCORES: dict[Divergence, core.Divergence] = {
    "reverse_kl": core.reverse_kl,
    "js": core.jensen_shannon,
    "alpha": core.alpha_divergence(0.5),
    "forward_kl": core.forward_kl,
}


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language, beta = Language("ab", length=2 if smoke else 3), 0.5
    reference, reward = Tabular.random(language, seed)().detach(), random_reward(language, seed + 100)
    pairs, figures = Pairs.all(reference, bradley_terry(reward)), {}
    for name, score in SCORES.items():
        policy = Tabular.of(language, reference)
        descend(policy, lambda: pairs.mean(f_dpo(*pairs.split(policy() - reference), beta, score)))  # noqa: B023
        law = policy().detach()
        figures[f"distance, {name}"] = float(total_variation(law, f_optimum(reference, reward, beta, name)).max())
        figures[f"reward, {name}"] = float(expectation(law, reward).mean())
        figures[f"entropy, {name}"] = float(entropy(law).mean())
    return figures
