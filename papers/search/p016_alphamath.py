"""Tree search teaches a policy and a value from outcomes alone, and the value then steers a beam over steps."""

import torch
from torch import Tensor

from espalier import MCTS, MajorityVote, Sampling, StepBeam
from espalier.exact import ExactEngine, ExactScorer, Language, Tabular, expectation, place, soft_values
from espalier.search import Found
from papers import Above, Less, Paper
from papers.search._languages import built_up, language, problems

ROUNDS = 3
PAPER = Paper(
    id="P016",
    title="AlphaMath Almost Zero: process Supervision without process",
    claim="from outcomes alone, rounds of tree search give targets for a policy (the right paths) and for a value (the "
    "Q of every step visited); both improve round by round, and a beam over steps that the value steers is right more "
    "often than greedy decoding and than a majority vote that costs as much",
    measured="strings of 7 symbols of which the best 3 % are right; policy and value are tables that know nothing at "
    "first; share of right samples before and after three rounds, correlation of the value with the policy's true "
    "chance of success over the prefixes visited, and beam, greedy and vote with the first policy and the last value",
    rule=[
        Less("right, round 0", "right, round 1"),
        Less("right, round 1", "right, round 3"),
        Above("correlation of the value", 0.5),
        Less("right, majority", "right, beam"),
        Less("right, greedy", "right, beam"),
    ],
    seeds=6,
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    of = language(4 if smoke else 7, prompts=4 if smoke else 16)
    policy, score = Tabular.random(of, seed, 0.5), built_up(of, seed + 100)
    right = (score >= score.quantile(0.97, dim=1, keepdim=True)).double()
    first, value = Tabular(of, policy.logits), torch.zeros(len(of.prompts), of.prefixes).double()
    step, steps = Sampling(max_tokens=1, seed=seed), {"stop": "", "max_steps": of.length}
    figures = {"right, round 0": success(policy, right)}
    visits = torch.zeros_like(value)
    for number in range(1, ROUNDS + 1):
        scorer = ExactScorer(of, "value", 2 * right - 1, value)
        search = MCTS(10 if smoke else 40, 3, Sampling(max_tokens=1, seed=seed + number), rollout_share=0.5, **steps)
        found = search.search(problems(of), ExactEngine(policy), scorer)
        value = learn(policy, value, visits, found, right)
        figures[f"right, round {number}"] = success(policy, right)
    chance = soft_values(of, first.next_logprobs().detach(), right, torch.inf).value
    seen = visits > 0
    figures["correlation of the value"] = float(torch.corrcoef(torch.stack([value[seen], chance[seen]]))[0, 1])

    scorer = ExactScorer(of, "value", 2 * right - 1, value)
    beam = StepBeam(2, 4, step, **steps).search(problems(of), ExactEngine(first), scorer)
    votes = MajorityVote(8, Sampling(max_tokens=of.length, seed=seed), extract=str)
    majority = votes.search(problems(of), ExactEngine(first))
    greedy = MajorityVote(1, Sampling(max_tokens=of.length, temperature=0.0), extract=str)
    likeliest = greedy.search(problems(of), ExactEngine(first))
    for name, answers in (("beam", beam), ("majority", majority), ("greedy", likeliest)):
        figures[f"right, {name}"] = share(answers, of, right)
    return figures


def learn(policy: Tabular, value: Tensor, visits: Tensor, found: Found, right: Tensor) -> Tensor:
    """The policy's likelihood of the right paths goes up; the value of each visited prefix is the mean of its Qs."""
    of, paths = policy.language, []
    value = value.clone()
    for node in found.forest.nodes():
        if node.parent is not None and (q := node.value("q")) is not None:
            prompt, text, string = place(of, node)
            if string is None:
                visits[prompt, text] += 1
                value[prompt, text] += (q - value[prompt, text]) / visits[prompt, text]
            elif right[prompt, string]:
                paths.append((prompt, string))
    if paths:
        rows, strings = torch.tensor(paths).unbind(-1)
        optimiser = torch.optim.Adam(policy.parameters(), lr=0.1)
        for _ in range(10):
            optimiser.zero_grad()
            (-policy()[rows, strings].mean()).backward()
            optimiser.step()
    return value


def success(policy: Tabular, right: Tensor) -> float:
    """The chance that a sample is right."""
    return float(expectation(policy().detach(), right).mean())


def share(found: Found, of: Language, right: Tensor) -> float:
    """The share of answers that are right."""
    strings = [None if answer is None else place(of, answer).string for answer in found.answers]
    return sum(float(right[i, string]) for i, string in enumerate(strings) if string is not None) / len(strings)
