"""Process rewards that are added up pay a policy for correct steps that nobody needs; clip and delta do not."""

import torch
from torch import Tensor

from espalier.exact import Language, Tabular, expectation
from espalier.losses.shaping import clip, delta
from papers import Less, Paper

PAPER = Paper(
    id="P467",
    title="On Designing Effective RL Reward at Training Time for LLM Reasoning",
    claim="a learned process reward, added up beside the success reward, is hacked by repeating correct but "
    "unnecessary steps and makes RL worse than success alone; clipped, or as differences (delta), the rewards of a "
    "trajectory are bounded, the hack is gone, and RL is better than with success alone",
    measured="a language of 6 steps in which the three needed steps must come in order and then an end, and a no-op is "
    "always correct; 60 steps of the exact policy gradient with rewards to go, process scores with an error of 0.1: "
    "success and the mean number of no-ops",
    rule=[
        Less("success, raw", "success, success only"),
        Less("no-ops, success only", "no-ops, raw"),
        Less("no-ops, clip", "no-ops, raw"),
        Less("no-ops, delta", "no-ops, raw"),
        Less("success, success only", "success, clip + delta"),
    ],
    seeds=8,
    tried="That the raw reward makes RL worse than success alone is not so here: over 8 seeds success after 60 steps "
    "is 0.54 [0.33, 0.74] higher with it. The hack itself is there (1.3 more no-ops than with success alone, 2.1 more "
    "than clipped, 1.0 more than as differences), and clip + delta beats success alone by 0.019 [0.004, 0.033]. But in "
    "this language no-ops crowd nothing out: the needed steps fit beside them, and the dense reward teaches a policy "
    "that starts from noise what the sparse one is slow to. The paper's policies solve many of their problems from the "
    "start and lose the answer in endless repetition; that needs a length in which not both fit, or a process reward "
    "that is higher for repeating than for solving.",
)
NEEDED, NOTHING = "abc", "n"
WEIGHT, STEPS, RATE = 0.5, 60, 1.0


def right(text: str) -> bool:
    """Whether all steps so far are correct: no-ops, and the needed ones in order."""
    return NEEDED.startswith(text.replace(NOTHING, ""))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language(NEEDED + NOTHING, length=5 if smoke else 6)
    before, token, there = language.paths
    strings = language.strings
    solved = torch.tensor([float(text.replace(NOTHING, "") == NEEDED) for text in strings]).double()
    noops = torch.tensor([float(text.count(NOTHING)) for text in strings]).double()
    generator = torch.Generator().manual_seed(seed)
    judged = torch.tensor([0.9 if right(text) else 0.1 for text in language.texts]).double()
    judged = (judged + 0.1 * torch.randn(len(judged), generator=generator, dtype=torch.float64)).clamp(0, 1)
    after = torch.where(token < len(language.symbols), before * len(language.symbols) + token + 1, 0)
    scores = judged[after]  # of each step; the end of a string is none
    steps = there & (token < len(language.symbols))

    def shaped(name: str) -> Tensor:
        if name == "success only":
            return torch.zeros_like(scores)
        if name == "raw":
            return torch.where(steps, scores, 0.0)
        if name == "clip":
            return clip(scores, steps, threshold=0.7)
        if name == "delta":
            return delta(scores, steps)
        return delta((scores - 0.7).clamp(max=0), steps)  # the clipped scores, as differences

    figures = {}
    start = Tabular.random(language, seed, scale=0.3)
    for name in ("success only", "raw", "clip", "delta", "clip + delta"):
        policy = Tabular(language, start.logits)
        rewards = WEIGHT * shaped(name)
        to_go = rewards.flip(-1).cumsum(-1).flip(-1) + solved[:, None]
        optimiser = torch.optim.SGD(policy.parameters(), RATE)
        for _ in range(STEPS):
            optimiser.zero_grad()
            tokens = policy.token_logprobs()[0]
            law = tokens.sum(-1).detach().exp()[:, None]
            # The value of each prefix under the policy is the baseline, as a perfect critic's would be.
            mass = torch.zeros(language.prefixes).double().index_add(0, before[there], (law * there)[there])
            total = torch.zeros(language.prefixes).double().index_add(0, before[there], (law * to_go)[there])
            advantage = to_go - (total / mass.clamp(min=1e-12))[before]
            loss = -(law * torch.where(there, advantage * tokens, 0.0)).sum()
            loss.backward()
            optimiser.step()
        final = policy().detach()[0]
        figures[f"success, {name}"] = float(expectation(final, solved))
        figures[f"no-ops, {name}"] = float(expectation(final, noops))
    return figures
