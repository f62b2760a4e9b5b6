"""A step-level Q model, from preferences between actions of one state, picks an agent's actions, and another's too."""

import torch
from torch import Tensor

from espalier.exact import Language, Tabular, descend, random_reward, soft_values
from espalier.losses import dpo
from papers import Above, Less, Paper

PAPER = Paper(
    id="P012",
    title="Enhancing Decision-Making for LLM Agents via Step-Level Q-Value Models",
    claim="step-level preferences between a better and a worse action of one state, labelled with the Q values of "
    "tree search, train by DPO a model whose log-ratio acts as Q: of n actions that a frozen agent proposes, taking "
    "the one with the highest Q makes it far better, and another agent too",
    measured="an enumerable environment of 6 steps and 3 actions, success on 5 % of the ends; pairs of actions in "
    "2000 states that the agent visits, labelled by search values with an error; exact success of the agent, and when "
    "each action is the best of 5 proposals by the learned Q, for that agent and for another",
    rule=[
        Less("success, agent", "success, agent with Q"),
        Above("ratio, agent", 1.5),
        Less("success, other agent", "success, other agent with Q"),
    ],
    seeds=8,
)
BETA, PROPOSALS = 0.1, 5


def best_of(following: Tensor, q: Tensor, n: int) -> Tensor:
    """Next-action log-probs of taking, of n independent proposals, the one with the highest Q."""
    order = q.argsort(-1)
    below = following.gather(-1, order).exp().cumsum(-1).clamp(max=1)
    chance = torch.diff(below**n, dim=-1, prepend=torch.zeros_like(below[..., :1]))
    return torch.zeros_like(chance).scatter(-1, order, chance).clamp(min=1e-300).log()


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("abc", length=4 if smoke else 6, end=False)
    ends = random_reward(language, seed + 100)
    success = (ends > ends.quantile(0.95)).double()
    agent, other = (Tabular.random(language, seed + shift).next_logprobs().detach() for shift in (0, 300))
    generator = torch.Generator().manual_seed(seed)

    def value(following: Tensor) -> float:
        return float(soft_values(language, following, success, torch.inf).value[0, 0])

    searched = soft_values(language, agent, success, torch.inf).q[0]
    searched = searched + 0.02 * torch.randn(searched.shape, generator=generator, dtype=torch.float64)
    visits = language.string_logprobs(agent)[0].exp()
    drawn = torch.multinomial(visits, 300 if smoke else 2000, replacement=True, generator=generator)
    before = language.paths[0]
    states = before[drawn, torch.randint(language.length, (len(drawn),), generator=generator)]
    proposed = torch.stack([torch.multinomial(agent[0, states].exp(), 1, generator=generator)[:, 0] for _ in range(2)])
    better = searched[states, proposed[0]] >= searched[states, proposed[1]]
    chosen, rejected = torch.where(better, proposed, proposed.flip(0))
    differ = chosen != rejected

    policy = Tabular(language, agent)

    def loss() -> Tensor:
        ratio = (policy.next_logprobs() - agent)[0]
        pairs = dpo(ratio[states, chosen][differ], ratio[states, rejected][differ], BETA)
        return pairs.mean() + 1e-4 * ratio.square().sum()  # as early stopping: separable pairs have no optimum

    descend(policy, loss)
    q = (BETA * (policy.next_logprobs() - agent)).detach()
    figures = {}
    for name, following in (("agent", agent), ("other agent", other)):
        figures[f"success, {name}"] = value(following)
        figures[f"success, {name} with Q"] = value(best_of(following, q, PROPOSALS))
        figures[f"ratio, {name}"] = figures[f"success, {name} with Q"] / figures[f"success, {name}"]
    return figures
