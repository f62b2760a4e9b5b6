"""SAMI: a weak tie between principles and responses, made strong by mutual information, without a label."""

from math import log

import torch
from torch import Tensor, nn

from espalier.exact import Policy, bandit, expectation, kl, win_rate
from espalier.losses.preference import sami
from papers import Above, Less, Near, Paper
from papers.preferences._shared import normal, steps

PAPER = Paper(
    id="P225",
    title="Self-Supervised Alignment with Mutual Information: Learning to Follow Principles without Preference Labels",
    claim="finetuning a model on its own responses, to raise the mutual information of principle and response, makes "
    "it follow principles better, on new queries too, round after round and with no preference labels; what it knows "
    "weakly of a principle's meaning is where it starts from",
    measured="responses of eight features to 48 queries under 4 principles, each of which asks for one direction of "
    "the features; a base model that leans weakly in these directions, or not at all; three rounds of 8 samples a "
    "query and principle and 20 steps on half of the queries, log-probs a token for responses of 8 tokens: mean "
    "adherence (a standard deviation is 1) and exact information on the other half",
    rule=[
        Less("adherence, base", "adherence, round 1"),
        Less("adherence, round 1", "adherence, round 3"),
        Less("information, base", "information, round 3"),
        Above("win rate of round 3 against base", 0.5),
        Near("adherence, round 3, from a base that knows nothing", 0.0, within=0.25),
    ],
    seeds=20,
    tried="With log-probs of whole responses in place of those a token information grew and the first round's "
    "adherence did not (20 seeds each, 16 features, Adam and gradient descent): 0.014 [-0.016, 0.044], -0.012 [-0.048, "
    "0.025] and 0.011 [-0.010, 0.032] above the base model's.",
)
QUERIES, ARMS, SIZE, PRINCIPLES, ROUNDS, TIMES = 48, 30, 8, 4, 3, 8
TOKENS = 8
"""Of each response. The log-probs of the loss are those a token: so the policy's own guess of a response's principle is
less sure than the policy is, and training makes it surer. With whole log-probs that guess is right from the start, and
the expected gradient of finding the principle is zero."""


class Follower(Policy):
    """`log policy(response | query, principle) = log base + features @ lean[principle] - log Z`.

    The prompts are all queries under the first principle, then under the second, and so on.

    Attributes:
        lean: a direction of the features for each principle; what is trained.
    """

    def __init__(self, features: Tensor, base: Tensor, lean: Tensor) -> None:
        super().__init__(bandit(ARMS))
        self.features, self.base, self.lean = features, base, nn.Parameter(lean.clone())

    def next_logprobs(self) -> Tensor:
        logits = self.base + torch.einsum("qad,pd->pqa", self.features, self.lean)
        return logits.log_softmax(-1).flatten(0, 1)[:, None]

    def laws(self) -> Tensor:
        """Of the responses, under each principle and to each query: [principles, queries, arms]."""
        return self().unflatten(0, (PRINCIPLES, QUERIES))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    draw, chance, figures = normal(seed), torch.Generator().manual_seed(seed), {}
    features, base = 2 * draw(QUERIES, ARMS, SIZE), draw(QUERIES, ARMS)
    meaning = nn.functional.normalize(draw(PRINCIPLES, SIZE), dim=-1)
    wanted = torch.einsum("qad,pd->pqa", features, meaning) * SIZE**0.5 / 2  # of spread 1
    train, new = slice(0, QUERIES // 2), slice(QUERIES // 2, QUERIES)

    for start, known in (("", 1.0), (", from a base that knows nothing", 0.0)):
        policy = Follower(features, base, known * meaning + 0.1 * draw(PRINCIPLES, SIZE))
        laws = [policy.laws().detach()]
        for _ in range(ROUNDS):
            drawn = torch.multinomial(laws[-1][:, train].exp().flatten(0, 1), TIMES, replacement=True, generator=chance)
            drawn = drawn.unflatten(0, (PRINCIPLES, -1)).permute(1, 0, 2).flatten(1)  # each query's, by principle

            def loss(policy: Follower = policy, drawn: Tensor = drawn) -> Tensor:
                asked = policy.laws()[:, train].gather(-1, drawn.expand(PRINCIPLES, -1, -1)) / TOKENS
                return sami(asked.unflatten(-1, (PRINCIPLES, TIMES)).permute(1, 3, 0, 2).flatten(0, 1)).mean()

            for _ in steps(policy, loss, 2 if smoke else 20, lr=10.0):
                pass
            laws.append(policy.laws().detach())
        for number, law in enumerate(laws):
            name, now = f"round {number}" if number else "base", law[:, new]
            information = kl(now, now.exp().mean(0).log().expand_as(now)).mean()
            figures[f"information, {name}{start}"] = float(information)
            figures[f"adherence, {name}{start}"] = float(expectation(now, wanted[:, new]).mean())
        if known:
            better = (wanted[:, new, :, None] > wanted[:, new, None, :]).double()
            ties = torch.eye(ARMS, dtype=torch.float64) / 2
            wins = win_rate(laws[-1][:, new], laws[0][:, new], better + ties)
            figures["win rate of round 3 against base"] = float(wins.mean())
    return figures | {"information, most": log(PRINCIPLES)}
