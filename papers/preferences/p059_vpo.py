"""VPO: one term beside DPO, whose sign is optimism (explore, online) or pessimism (keep to the data, offline)."""

import torch
from torch import Tensor

from espalier.exact import Tabular, bandit, bradley_terry, descend, log_partition, objective, random_reward
from espalier.losses.preference import vpo
from papers import Less, Paper

PAPER = Paper(
    id="P059",
    title="Value-Incentivized Preference Optimization: A Unified Approach to Online and Offline RLHF",
    claim="weighing a reward's likelihood with its own optimal value explores where the policy writes the pairs (less "
    "regret than DPO) and holds back where it cannot (closer to the optimum than DPO); offline, the other sign harms",
    measured="bandits of 8 arms, how far the regularised objective is below the optimum's, with alpha above 0, 0 (DPO) "
    "and below 0: mean of 20 rounds from a reference that seldom plays the best arms, each 2 pairs of the policy with "
    "the reference and a fit to all so far; mean of 5 fits to 15 pairs of a writer that seldom plays the worst arms",
    rule=[
        Less("online regret, optimism", "online regret, DPO"),
        Less("offline gap, pessimism", "offline gap, DPO"),
        Less("offline gap, DPO", "offline gap, optimism"),
    ],
    seeds=16,
    tried="Optimism pays only where the best arms are hard to find. In the first full run (beta 0.3, ridge 0.25, a "
    "reference of log-odds -1 per unit of reward) DPO found them by itself: its regret less the optimist's was -0.04 "
    "[-0.15, 0.06] over 20 seeds. The problem was then made harder (beta 0.15, ridge 0.1, log-odds -1.5), on "
    "seeds that are not counted here. One offline data set a seed left the pessimist's "
    "gain at 0.22 [-0.02, 0.46]; five settled it.",
)
BETA, RIDGE, ARMS = 0.15, 0.1, 8
ALPHA = {"optimism": 1.0, "DPO": 0.0, "pessimism": -1.0}


def fit(seen: Tensor, reference: Tensor, calibration: Tensor, alpha: float) -> Tensor:
    """The policy of least loss: VPO's, summed over pairs (preferred, other), and a little ridge on the rewards.

    An optimist's loss has a minimum for each arm that may be the best. So it goes down from each, all at once: one
    prompt each, of which the least is taken.
    """
    policy = Tabular(bandit(ARMS, prompts=ARMS), (reference + torch.eye(ARMS) * 2 / BETA)[:, None])

    def losses() -> Tensor:
        ratio = policy() - reference
        calibrated = (calibration.exp() * ratio).sum(-1, keepdim=True)
        each = vpo(ratio[:, seen[0]], ratio[:, seen[1]], calibrated, BETA, alpha / seen.shape[1]).sum(-1)
        return each + RIDGE * (BETA * (ratio - ratio.mean(-1, keepdim=True))).square().sum(-1)

    descend(policy, lambda: losses().sum(), steps=30, tolerance=1e-4)
    return policy().detach()[losses().argmin(), None]


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = bandit(ARMS)
    reward, noise = random_reward(language, seed), Tabular.random(language, seed + 100, scale=0.5)().detach()
    preference, figures = bradley_terry(reward)[0], {}

    def compared(one: Tensor, other: Tensor, number: int, chance: torch.Generator) -> Tensor:
        """An arm of each law, the preferred one first."""
        drawn = [torch.multinomial(law[0].exp(), number, replacement=True, generator=chance) for law in (one, other)]
        pairs = torch.stack(drawn)
        lost = torch.rand(number, generator=chance, dtype=torch.float64) > preference[pairs[0], pairs[1]]
        return torch.where(lost, pairs.flip(0), pairs)

    def gap(law: Tensor, reference: Tensor) -> float:
        return float(BETA * log_partition(reference, reward, BETA) - objective(law, reference, reward, BETA))

    timid, writer = (noise - 1.5 * reward).log_softmax(-1), (noise + 2 * reward).log_softmax(-1)
    for name, alpha in ALPHA.items():
        chance = torch.Generator().manual_seed(seed)
        data = [compared(writer, writer, 15, chance) for _ in range(1 if smoke else 5)]
        gaps = [gap(fit(pairs, noise, writer, alpha), noise) for pairs in data]
        figures[f"offline gap, {name}"] = sum(gaps) / len(gaps)
        if alpha < 0:
            continue
        law, chance = timid, torch.Generator().manual_seed(seed)
        seen, gaps = torch.zeros(2, 0, dtype=torch.long), []
        for _ in range(2 if smoke else 20):
            seen = torch.cat([seen, compared(law, timid, 2, chance)], 1)
            law = fit(seen, timid, timid, alpha)
            gaps.append(gap(law, timid))
        figures[f"online regret, {name}"] = sum(gaps) / len(gaps)
    return figures
