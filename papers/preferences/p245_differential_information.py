"""DPO learns the difference of two policies; how spread out that difference is decides what happens to the policy."""

import torch
from torch import Tensor

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    bandit,
    descend,
    differential_information,
    entropy,
    kl,
    rejected_law,
    tilted,
    total_variation,
)
from espalier.losses.preference import core, cpo, dpo, f_dpo
from papers import Above, Below, Less, Paper

PAPER = Paper(
    id="P245",
    title="Differential Information: An Information-Theoretic Perspective on Preference Optimization",
    claim="with chosen responses from the reference and rejected ones from its closed-form law, DPO's log-ratio finds "
    "the target and no other score does; differential information of low entropy reinforces the policy, of high "
    "entropy smooths it and lowers the likelihood of what it likes best",
    measured="exact descent on such pairs, random languages: total variation to the target, for DPO, for log-probs "
    "alone and for a forward-KL score; then 12 targets a seed at one KL from a peaked reference (0.3 nats), which "
    "raise or lower the log-odds of one to six responses, learned by DPO: entropy of the information against "
    "the change in the policy's entropy, in the log-prob of the reference's likeliest response, and (no rule: its sign "
    "hangs on the targets) in the mean log-prob of chosen responses (correlations)",
    rule=[
        Below("distance, log-ratio", 1e-3),
        Above("distance, log-prob", 0.05),
        Above("distance, forward KL", 0.01),
        Above("entropy of information with change of entropy", 0.3),
        Below("entropy of information with change of the mode's log-prob", -0.3),
        Less("change of entropy, low", "change of entropy, high"),
    ],
    seeds=20,
    tried="Likelihood displacement. Chosen responses come from the reference here, so DPO lowers their mean log-prob "
    "by KL(reference || target) whatever the information is; its correlation with the information's entropy was "
    "between -0.45 and 0.92 on eight other seeds, so nothing is claimed of it. With targets that push all responses at "
    "random (in place of a few up or down) the entropy of the information said little of the policy's (-0.42 to 0.36).",
)
BETA = 0.5


def carrying(reference: Tensor, target: Tensor) -> Pairs:
    """Chosen strings of the reference, rejected ones of the closed-form law."""
    rejected = rejected_law(reference, target, BETA)
    drawn = reference.exp()[..., :, None] * rejected.exp()[..., None, :]
    return Pairs.all(reference, drawn / (drawn + drawn.mT), other=rejected)


def targets(reference: Tensor, seed: int, count: int) -> list[Tensor]:
    """The reference with some responses, drawn from it, up (even) or down (odd), as far as 0.3 nats of KL take it."""
    chance, found = torch.Generator().manual_seed(seed), []
    for number in range(count):
        some = torch.multinomial(reference[0].exp(), 1 + number // 2, generator=chance)
        push = torch.zeros_like(reference).index_fill(1, some, 1.0 if number % 2 == 0 else -1.0)
        low, high = 0.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if kl(tilted(reference, push, 1 / middle), reference) > 0.3 else (middle, high)
        found.append(tilted(reference, push, 1 / low))
    return [target for target in found if kl(target, reference) > 0.29]


def correlation(first: list[float], second: list[float]) -> float:
    return float(torch.corrcoef(torch.tensor([first, second]))[0, 1])


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("ab", length=2)
    reference, target = Tabular.random(language, seed)().detach(), Tabular.random(language, seed + 100)().detach()
    pairs, figures = carrying(reference, target), {}
    for name in ("log-ratio", "log-prob", "forward KL"):
        policy = Tabular.of(language, reference)

        def loss(name: str = name, policy: Tabular = policy) -> Tensor:
            if name == "log-prob":
                return pairs.mean(cpo(*pairs.split(policy()), BETA, alpha=0.0))
            ratio = pairs.split(policy() - reference)
            return pairs.mean(dpo(*ratio, BETA) if name == "log-ratio" else f_dpo(*ratio, BETA, core.forward_kl))

        descend(policy, loss)
        figures[f"distance, {name}"] = float(total_variation(policy().detach(), target).max())

    arms = bandit(8 if smoke else 16)
    start = Tabular.random(arms, seed, scale=1.5)().detach()
    spread, flatter, mode, chosen = [], [], [], []
    for target in targets(start, seed, 6 if smoke else 12):
        pairs, policy = carrying(start, target), Tabular.of(arms, start)
        descend(policy, lambda: pairs.mean(dpo(*pairs.split(policy() - start), BETA)))  # noqa: B023
        law = policy().detach()
        spread.append(float(entropy(differential_information(start, law))))
        flatter.append(float(entropy(law) - entropy(start)))
        mode.append(float((law - start)[0, start.argmax()]))
        chosen.append(float(pairs.mean(pairs.split(law - start)[0])))
    middle = sorted(spread)[len(spread) // 2]
    low = [change for change, value in zip(flatter, spread, strict=True) if value < middle]
    high = [change for change, value in zip(flatter, spread, strict=True) if value >= middle]
    return figures | {
        "entropy of information with change of entropy": correlation(spread, flatter),
        "entropy of information with change of the mode's log-prob": correlation(spread, mode),
        "entropy of information with change of chosen log-prob": correlation(spread, chosen),
        "change of entropy, low": sum(low) / len(low),
        "change of entropy, high": sum(high) / len(high),
    }
