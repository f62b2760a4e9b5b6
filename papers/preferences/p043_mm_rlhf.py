"""MM-RLHF: a clear pair counts for more than a close one, and a reward model criticises before it scores."""

import torch
from torch import Tensor, nn

from espalier.exact import anneal, bradley_terry, expectation, win_rate
from espalier.losses.preference import dpo, reward_scaled_dpo
from espalier.losses.reward import bradley_terry as ranking
from papers import Above, Less, Paper
from papers.preferences._shared import Shared, drawn, normal, of, world

PAPER = Paper(
    id="P043",
    title="MM-RLHF: The Next Step Forward in Multimodal LLM Alignment",
    claim="where the quality of pairs varies, a beta that grows with a reward model's margin makes a better policy "
    "than any constant one; a reward model that writes a critique, and scores what it wrote, ranks better than one "
    "that scores at once",
    measured="policies with shared features, four labelled pairs for each of 24 prompts, a reward model with an error "
    "of 0.5: exact reward and win rate at the best of three betas each, constant or scaled by 1 + (1 - exp(-margin / "
    "2)); reward models with one hidden layer, 100 labelled pairs: accuracy on 300 others, of a score read off the "
    "hidden layer, and of one read off the critique (which of four qualities a response has), which is learned too",
    rule=[
        Above("win rate of scaled against constant beta", 0.5),
        Less("reward, constant beta", "reward, scaled beta"),
        Less("accuracy, scores at once", "accuracy, critique first"),
    ],
    seeds=15,
)
BETAS, WEIGHT, RATE, QUALITIES = (0.03, 0.1, 0.3), 1.0, 0.5, 4


def policies(seed: int, smoke: bool) -> dict[str, float]:
    features, base, reward = world(seed, dimensions=100, told=1.0, prompts=24)
    pairs, preference = drawn(base, reward, 4, seed), bradley_terry(reward)
    chance = torch.Generator().manual_seed(seed + 1)
    good, bad = of(reward + torch.randn(reward.shape, generator=chance, dtype=torch.float64) / 2, pairs)
    margin, best = (good - bad).clamp(min=-1.3), {}  # below log(1 / 2) / RATE beta would be negative
    for name in ("constant", "scaled"):
        laws = []
        for beta in BETAS:
            policy = Shared(features, base)

            def loss(policy: Shared = policy, name: str = name, beta: float = beta) -> Tensor:
                ratios = of(policy() - base, pairs)
                if name == "constant":
                    return dpo(*ratios, beta).mean()
                return reward_scaled_dpo(*ratios, margin, beta, WEIGHT, RATE).mean()

            anneal(policy, loss, 3 if smoke else 40, lr=0.1)
            laws.append(policy().detach())
        best[name] = max(laws, key=lambda law: float(expectation(law, reward).mean()))
    return {
        "reward, base": float(expectation(base, reward).mean()),
        **{f"reward, {name} beta": float(expectation(law, reward).mean()) for name, law in best.items()},
        "win rate of scaled against constant beta": float(
            win_rate(best["scaled"], best["constant"], preference).mean()
        ),
    }


class Judge(nn.Module):
    """Scores responses from a hidden layer: at once, or by what its critique says of four qualities."""

    def __init__(self, size: int, critique: bool, seed: int) -> None:
        super().__init__()
        draw = normal(seed)
        self.critique = critique
        self.trunk = nn.Parameter(draw(1, size, 16)[0])
        self.words = nn.Parameter(0.1 * draw(16, QUALITIES))
        self.value = nn.Parameter(0.1 * draw(QUALITIES if critique else 16))

    def says(self, responses: Tensor) -> Tensor:
        """The logits of "good" for each quality."""
        return torch.tanh(responses @ self.trunk) @ self.words

    def forward(self, responses: Tensor) -> Tensor:
        seen = self.says(responses).sigmoid() if self.critique else torch.tanh(responses @ self.trunk)
        return seen @ self.value


def judges(seed: int, smoke: bool) -> dict[str, float]:
    draw, chance, figures = normal(seed), torch.Generator().manual_seed(seed), {}
    responses = draw(2, 400, 40) * 40**0.5
    parts = (responses @ nn.functional.normalize(draw(40, QUALITIES), dim=0)).tanh()
    reward, shown = 1.5 * parts.sum(-1), slice(0, 100)
    first = torch.bernoulli((reward[0] - reward[1]).sigmoid(), generator=chance).bool()[shown, None]
    chosen, rejected = (torch.where(first, *both[:, shown]) for both in (responses, responses.flip(0)))
    written = torch.cat([torch.where(first, *both[:, shown]) for both in (parts, parts.flip(0))]) > 0
    for name in ("scores at once", "critique first"):
        judge = Judge(40, name == "critique first", seed)

        def loss(judge: Judge = judge) -> Tensor:
            value = ranking(judge(chosen), judge(rejected)).mean()
            if not judge.critique:
                return value
            said = judge.says(torch.cat([chosen, rejected]))
            return value + nn.functional.binary_cross_entropy_with_logits(said, written.double())

        anneal(judge, loss, 5 if smoke else 150, lr=0.03)
        scores = judge(responses[:, 100:]).detach()
        right = (scores[0] > scores[1]) == (reward[0, 100:] > reward[1, 100:])
        figures[f"accuracy, {name}"] = float(right.double().mean())
    return figures


def measure(seed: int, smoke: bool) -> dict[str, float]:
    return policies(seed, smoke) | judges(seed, smoke)
