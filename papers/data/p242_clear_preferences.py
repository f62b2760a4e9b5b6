"""The reference's own probabilities tell clear pairs from noisy ones: less than half of the data teaches more."""

import torch
from torch import Tensor

from espalier.exact import bradley_terry, descend, win_rate
from espalier.losses.preference import dpo
from papers import Less, Paper
from papers.preferences._shared import Shared, normal

PAPER = Paper(
    id="P242",
    title="Clear Preferences Leave Traces: Reference Model-Guided Sampling for Preference Learning",
    claim="of pairs with noisy labels those that the reference policy most clearly agrees with (log-prob of the chosen "
    "less the rejected) have the larger differences in quality and fewer wrong labels; DPO on 40 % of the pairs "
    "chosen so beats DPO on all, on a random 40 %, and on those it agrees with least",
    measured="policies over 26 responses to 24 prompts with shared features, a reference that leans to good responses, "
    "240 pairs of which raters get about 4 in 10 wrong: quality gap and wrong labels among the chosen; exact win rate "
    "against the reference on 24 other prompts; the same with a reference that knows nothing of quality",
    rule=[
        Less("quality gap, all", "quality gap, clear"),
        Less("wrong labels, clear", "wrong labels, all"),
        Less("win rate, all", "win rate, clear"),
        Less("win rate, random 40 %", "win rate, clear"),
        Less("win rate, least clear", "win rate, clear"),
        Less("gain over all, blind reference", "gain over all"),
    ],
    seeds=16,
    tried="The paper's exact rule could not be read: here the signed gap, greatest first. It is the noise of labels "
    "that makes less data teach more: with 3 in 10 wrong (other seeds) the clear 40 % taught as much as all (win rate "
    "0.842 against 0.836), with 4 in 10 more.",
)
BETA, RIDGE, PROMPTS, ARMS, DIMENSIONS, PAIRS = 0.2, 0.1, 24, 26, 16, 240


def world(seed: int, lean: float) -> tuple[Tensor, Tensor, Tensor]:
    """Features, reference and rewards of twice the prompts; the reference leans so much to good responses."""
    draw = normal(seed)
    features = 2 * draw(2 * PROMPTS, ARMS, DIMENSIONS)
    reward = features @ draw(DIMENSIONS)
    noise = 1.5 * draw(2 * PROMPTS, ARMS)
    return features, (lean * reward + noise).log_softmax(-1), reward / reward.std()


def measure(seed: int, smoke: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, lean in (("", 0.5), (", blind reference", 0.0)):
        features, reference, reward = world(seed, lean)
        chance = torch.Generator().manual_seed(seed)
        prompt = torch.randint(PROMPTS, (PAIRS,), generator=chance)
        pair = torch.rand(PAIRS, ARMS, generator=chance).argsort(-1)[:, :2]
        gaps = reward[prompt, pair[:, 0]] - reward[prompt, pair[:, 1]]
        # Raters are wrong more often the smaller the difference is: about 4 in 10 on the whole.
        wrong = torch.rand(PAIRS, generator=chance, dtype=torch.float64) > torch.sigmoid(gaps.abs() / 2)
        chosen = torch.where(wrong ^ (gaps > 0), pair[:, 0], pair[:, 1])
        rejected = pair.sum(1) - chosen
        trust = reference[prompt, chosen] - reference[prompt, rejected]
        order, keep = trust.argsort(descending=True), round(0.4 * PAIRS)
        kept = {
            "all": order,
            "clear": order[:keep],
            "random 40 %": torch.randperm(PAIRS, generator=chance)[:keep],
            "least clear": order[-keep:],
        }
        wins = {}
        for which, rows in kept.items():
            policy = Shared(features[:PROMPTS], reference[:PROMPTS])
            descend(policy, lambda: trained(policy, prompt[rows], chosen[rows], rejected[rows]), 40, 1e-3)  # noqa: B023
            test = (reference[PROMPTS:] + features[PROMPTS:] @ policy.weights.detach()).log_softmax(-1)
            wins[which] = float(win_rate(test, reference[PROMPTS:], bradley_terry(100 * reward[PROMPTS:])).mean())
        figures[f"gain over all{name}"] = wins["clear"] - wins["all"]
        if not name:
            figures |= {f"win rate, {which}": rate for which, rate in wins.items()}
            for which in ("all", "clear"):
                figures[f"quality gap, {which}"] = float(gaps.abs()[kept[which]].mean())
                figures[f"wrong labels, {which}"] = float(wrong[kept[which]].double().mean())
    return figures


def trained(policy: Shared, prompt: Tensor, chosen: Tensor, rejected: Tensor) -> Tensor:
    """DPO's loss on the pairs, a sum, with a little ridge."""
    ratio = policy() - policy.reference
    losses = dpo(ratio[prompt, chosen], ratio[prompt, rejected], BETA)
    return losses.sum() + RIDGE * policy.weights.square().sum() / 2
