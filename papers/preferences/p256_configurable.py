"""Configurable preference tuning: the same two responses, preferred one way or the other as the directive says."""

import torch
from torch import Tensor, nn

from espalier.exact import Policy, anneal, bandit, expectation
from espalier.losses.preference import dpo
from papers import Above, Below, Paper
from papers.preferences._shared import normal

PAPER = Paper(
    id="P256",
    title="Configurable Preference Tuning with Rubric-Guided Synthetic Data",
    claim="pairs whose preference turns with a directive teach one model to take each style to the level that it is "
    "asked for, on new prompts, at levels between and in mixtures that were never trained, and most of the way that a "
    "model for one directive alone goes; pairs with one fixed preference do not",
    measured="responses of 16 features to 48 prompts, three attributes scored by a rubric (a fifth of whose variance "
    "no feature tells); directives ask for level -1, -0.5, 0.5 or 1 of one attribute, as an input of the policy; DPO "
    "on one pair a directive and training prompt: of six samples the nearest to the level over the farthest. On new "
    "prompts, in standard deviations: range of an attribute from little to much, share of neighbouring levels (0 too) "
    "in order, score against a model of one directive, the lesser score where two attributes are asked for at once",
    rule=[
        Above("range, configurable", 1.0),
        Below("range, one fixed preference", 0.2),
        Above("levels in order", 0.9),
        Above("score, as a share of that of a model for one directive", 0.5),
        Above("lesser of two attributes at once", 0.3),
    ],
    seeds=36,
)
PROMPTS, ARMS, SIZE, ATTRIBUTES, BETA = 48, 30, 16, 3, 0.1
LEVELS, UNSEEN = (-1.0, -0.5, 0.5, 1.0), 0.0


class Directed(Policy):
    """`log base + features @ (general + directive @ moved) - log Z`, for every directive and prompt."""

    def __init__(self, features: Tensor, base: Tensor, directives: Tensor) -> None:
        super().__init__(bandit(ARMS))
        self.features, self.base, self.directives = features, base, directives
        self.moved = nn.Parameter(features.new_zeros(directives.shape[1], SIZE))

    def under(self, directives: Tensor) -> Tensor:
        """The laws under any directives, [directives, prompts, arms]."""
        return (self.base + torch.einsum("pad,fd->fpa", self.features, directives @ self.moved)).log_softmax(-1)

    def next_logprobs(self) -> Tensor:
        return self.under(self.directives).flatten(0, 1)[:, None]


def measure(seed: int, smoke: bool) -> dict[str, float]:
    draw, chance = normal(seed), torch.Generator().manual_seed(seed)
    features, base = 2 * draw(PROMPTS, ARMS, SIZE), draw(PROMPTS, ARMS).log_softmax(-1)
    told, rest = torch.einsum("pad,kd->kpa", features, draw(ATTRIBUTES, SIZE)), draw(ATTRIBUTES, PROMPTS * ARMS)
    scores = told / told.std() + rest.view_as(told) / 2
    scores = (scores - expectation(base.expand_as(scores), scores)[..., None]) / scores.std()
    train, new = slice(0, PROMPTS // 2), slice(PROMPTS // 2, PROMPTS)

    def asking(*levels: float) -> Tensor:
        """The directives for these levels of each attribute, attribute by attribute; the last input is always 1."""
        each = torch.cat([level * torch.eye(ATTRIBUTES) for level in levels])
        return torch.cat([each, torch.ones(len(each), 1)], -1).double()

    trained = asking(*LEVELS)
    drawn = torch.multinomial(base[train].exp(), 6, generator=chance)
    rubric = scores[:, train].gather(-1, drawn.expand(ATTRIBUTES, -1, -1))
    off = torch.cat([(rubric - 1.5 * level).abs() for level in LEVELS])  # levels, then attributes, as in asking
    chosen = drawn.expand(len(off), -1, -1).gather(-1, off.argmin(-1, keepdim=True))
    rejected = drawn.expand(len(off), -1, -1).gather(-1, off.argmax(-1, keepdim=True))

    def tuned(told: Tensor, which: Tensor) -> Directed:
        """Trained on the pairs of the directives `which`, told what `told` says."""
        policy = Directed(features, base, told)

        def loss() -> Tensor:
            ratio = policy.under(told)[:, train] - base[train]
            both = ratio.gather(-1, chosen[which]), ratio.gather(-1, rejected[which])
            return dpo(both[0].flatten(), both[1].flatten(), BETA).mean()

        anneal(policy, loss, 2 if smoke else 30, lr=0.07)
        return policy

    def got(policy: Directed, *levels: float) -> Tensor:
        """The mean score on new prompts of the attribute that is asked for, [levels, attributes, prompts]."""
        law = policy.under(asking(*levels)).detach()[:, new].unflatten(0, (len(levels), ATTRIBUTES))
        return expectation(law, scores[:, new].expand_as(law))

    policy = tuned(trained, torch.arange(len(trained)))
    fixed = tuned(trained, torch.full((len(trained),), len(trained) - 1))
    much = (len(LEVELS) - 1) * ATTRIBUTES
    alone = [float(got(tuned(asking(1.0)[[n]], torch.tensor([much + n])), 1.0)[0, n].mean()) for n in range(ATTRIBUTES)]
    found = got(policy, -1.0, -0.5, UNSEEN, 0.5, 1.0).mean(-1)
    law = policy.under(torch.tensor([[1.0, -1.0, 0.0, 1.0]]).double()).detach()[0, new]
    two = expectation(law, scores[0, new]).mean(), -expectation(law, scores[1, new]).mean()
    return {
        "range, configurable": float((found[-1] - found[0]).mean()),
        "range, one fixed preference": float((got(fixed, 1.0) - got(fixed, -1.0)).mean()),
        "levels in order": float((found.diff(dim=0) > 0).double().mean()),
        "score, a model for one directive": sum(alone) / ATTRIBUTES,
        "score, as a share of that of a model for one directive": float(found[-1].sum() / sum(alone)),
        "lesser of two attributes at once": float(min(two)),
        **{
            f"score at level {level:g}": float(value)
            for level, value in zip((-1, -0.5, 0, 0.5, 1), found.mean(-1), strict=True)
        },
    }
