"""DITTO: five demonstrations set against what the policy writes teach a style; imitated, they are learned by heart."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import product

import torch
from torch import Tensor

from espalier.curation.demonstrated import demonstrated_pairs
from espalier.exact import bandit, bradley_terry, expectation, responses, win_rate
from espalier.losses import nll
from espalier.losses.preference import dpo
from espalier.trees import Forest, pairs
from papers import Above, Less, Paper
from papers.preferences._shared import Shared, normal

PAPER = Paper(
    id="P344",
    title="Show, Don't Tell: Aligning Language Models with Demonstrated Feedback",
    claim="from a handful of demonstrations, DPO on comparisons of them with the policy's samples, those of older "
    "checkpoints, and those of newer with those of older ones, aligns the policy to a user better than supervised "
    "fine-tuning on them and than self-play (SPIN)",
    measured="30 prompts of 50 responses; a user's taste for 16 features that all prompts share, and for each response "
    "to the five demonstrated prompts a weight of its own (what it says, beside how); 20 steps of fine-tuning, then 16 "
    "rounds of 10 samples a prompt and 10 steps, against as many steps of fine-tuning, and SPIN (demonstrations over "
    "samples of the last policy, the reference); each after all its rounds, at the better of two learning rates: exact "
    "win rates, by the user's taste, on the 25 other prompts",
    rule=[
        Above("win rate over fine-tuning", 0.5),
        Above("win rate over SPIN", 0.5),
        Less("reward, base", "reward, fine-tuning"),
        Less("reward, fine-tuning", "reward, DITTO"),
    ],
    seeds=18,
    tried="SPIN is not beaten here: DITTO won 0.529 [0.478, 0.58] over it in 10 seeds and 0.506 [0.477, 0.535] in 30, "
    "where all other rules held (0.537 [0.511, 0.563] over fine-tuning); more seeds would hardly find what is left. "
    "While this was built (six other seeds) DITTO's lead hung on how the rivals are stopped and stepped: with every "
    "policy taken at its best round it won 0.506 [0.436, 0.576] over SPIN, and with an Adam begun anew every ten "
    "steps, whose first steps move all weights alike, fine-tuning learned the shared taste too and DITTO won 0.454 "
    "[0.379, 0.529] over it. Where demonstrated responses have no weights of their own there is nothing to learn by "
    "heart, and fine-tuning is as good.",
)
DEMONSTRATED, BETA = 5, 0.1


def learn(policy: Shared, optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> None:
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def measure(seed: int, smoke: bool) -> dict[str, float]:
    draw, chance = normal(seed), torch.Generator().manual_seed(seed)
    language, new = bandit(50, prompts=DEMONSTRATED), slice(DEMONSTRATED, None)
    style, base = 2 * draw(30, 50, 16), draw(30, 50).log_softmax(-1)
    taste = draw(16)
    reward = 2 * style @ taste / (taste.norm() * style.std())
    content = torch.zeros(30, 50, DEMONSTRATED * 50, dtype=base.dtype)
    content[:DEMONSTRATED] = 3 * torch.eye(DEMONSTRATED * 50, dtype=base.dtype).view(DEMONSTRATED, 50, -1)
    features = torch.cat([style, content], -1)

    def written(law: Tensor, count: int) -> Forest:
        """Samples for the demonstrated prompts."""
        drawn = torch.multinomial(law[:DEMONSTRATED].exp(), count, replacement=True, generator=chance).tolist()
        return responses(language, drawn)

    shown = written((base + reward).log_softmax(-1), 1)
    arms = torch.tensor([[leaf.meta["string"] for leaf in tree.leaves()] for tree in shown])

    def everywhere(policy: Shared) -> Tensor:
        """The law for all prompts; that of the demonstrated ones is enough to train it."""
        return (base + features @ policy.weights.detach()).log_softmax(-1)

    def earned(law: Tensor) -> float:
        return float(expectation(law[new], reward[new]).mean())

    def imitated(policy: Shared) -> Tensor:
        return nll(policy().gather(1, arms)).mean()

    start = Shared(features[:DEMONSTRATED], base[:DEMONSTRATED])
    learn(start, torch.optim.Adam(start.parameters(), lr=0.03), lambda: imitated(start), 20)
    laws, rounds = {"base": base}, 3 if smoke else 16
    for name, lr in product(("fine-tuning", "SPIN", "DITTO"), (0.03,) if smoke else (0.03, 0.1)):
        policy, history = deepcopy(start), []
        optimiser, reference = torch.optim.Adam(policy.parameters(), lr), policy().detach()
        for number in range(rounds):
            law = policy().detach()
            history.append(written(law, 10))
            reference = law if name == "SPIN" else reference
            seen = history if name == "DITTO" else history[-1:]
            found = [pairs(tree)[0] for tree in demonstrated_pairs(shown, seen, 100, seed=100 * seed + number)]
            prompt = torch.tensor([language.symbols.index(pair.root.text) for pair in found])
            sides = [[getattr(pair, side).meta["string"] for pair in found] for side in ("chosen", "rejected")]

            def loss(name=name, policy=policy, reference=reference, prompt=prompt, sides=sides) -> Tensor:
                ratio = policy() - reference
                return (
                    imitated(policy) if name == "fine-tuning" else dpo(*(ratio[prompt, x] for x in sides), BETA).mean()
                )

            learn(policy, optimiser, loss, 10)
        laws[name] = max(laws.get(name, base), everywhere(policy), key=earned)
    figures = {f"reward, {name}": earned(law) for name, law in laws.items()}
    for name in ("fine-tuning", "SPIN"):
        wins = win_rate(laws["DITTO"][new], laws[name][new], bradley_terry(reward[new]))
        figures[f"win rate over {name}"] = float(wins.mean())
    return figures
