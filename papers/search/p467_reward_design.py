"""Process rewards that are added up pay a policy for correct steps that nobody needs; clip and delta do not."""

import torch
from torch import Tensor, nn

from espalier.exact import Language, Policy, expectation
from espalier.losses.shaping import clip, delta
from papers import Less, Paper

PAPER = Paper(
    id="P467",
    title="On Designing Effective RL Reward at Training Time for LLM Reasoning",
    claim="a learned process reward, added up beside the success reward, is hacked by repeating correct but "
    "unnecessary steps and makes RL worse than success alone; clipped, or as differences (delta), the rewards of a "
    "trajectory are bounded, the hack is gone, and RL is better than with success alone",
    measured="two needed steps and an answer, in at most 7; a no-op is always correct, what is not answered by then "
    "has failed, and the policy knows how far it has come but does not count its no-ops. It starts from about 0.6 "
    "success; 60 steps of the exact policy gradient with rewards to go, process scores with an error of 0.1: success "
    "and the mean number of no-ops",
    rule=[
        Less("success, raw", "success, success only"),
        Less("no-ops, success only", "no-ops, raw"),
        Less("no-ops, clip", "no-ops, raw"),
        Less("no-ops, delta", "no-ops, raw"),
        Less("success, success only", "success, clip + delta"),
    ],
    seeds=8,
    tried="Reproduced in the first counted run of this testbed; 2 seeds were looked at before. Delta alone does worse "
    "than success alone (0.84 against 0.97): its last step, here the answer, earns nothing, so that no-ops before it "
    "pay a little; clip alone does best (0.98). On a former testbed the raw reward helped: there three needed steps "
    "fitted beside the no-ops, no answer had to follow, the policy saw the place of each step, and it started from "
    "noise (success 0.003), where a dense reward teaches what a sparse one is slow to. Success after 60 steps was 0.54 "
    "[0.33, 0.74] higher with the raw reward than with success alone (8 seeds); the hack was there too (1.3 more "
    "no-ops), and clip + delta beat success alone by 0.019 [0.004, 0.033].",
)
NEEDED, NOTHING = "ab", "n"
WEIGHT, STEPS, RATE = 0.5, 60, 1.0


def right(text: str) -> bool:
    """Whether all steps so far are correct: no-ops, and the needed ones in order."""
    return NEEDED.startswith(text.replace(NOTHING, ""))


class Forgetful(Policy):
    """Next steps by how far a prefix has come, or that it has gone wrong; how many no-ops there are is not seen."""

    def __init__(self, language: Language, seed: int) -> None:
        super().__init__(language)
        texts = language.texts[: language.prefixes]
        wrong = len(NEEDED) + 1
        self.state = torch.tensor([len(text.replace(NOTHING, "")) if right(text) else wrong for text in texts])
        start = 0.3 * torch.randn(
            wrong + 1, language.tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        for done, symbol in enumerate(NEEDED):
            start[done, language.symbols.index(symbol)] += 2.5
        start[len(NEEDED), -1] += 2.5  # the answer
        self.logits = nn.Parameter(start)

    def next_logprobs(self) -> Tensor:
        return self.logits.log_softmax(-1)[None, self.state]


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language(NEEDED + NOTHING, length=5 if smoke else 7)
    before, token, there = language.paths
    strings, answer = language.strings, token == len(language.symbols)
    done = [text.replace(NOTHING, "") == NEEDED and len(text) < language.length for text in strings]
    solved = torch.tensor(done).double()
    noops = torch.tensor([float(text.count(NOTHING)) for text in strings]).double()
    generator = torch.Generator().manual_seed(seed)

    def judged(correct: list[bool]) -> Tensor:
        scores = torch.where(torch.tensor(correct), 0.9, 0.1).double()
        return (scores + 0.1 * torch.randn(len(scores), generator=generator, dtype=torch.float64)).clamp(0, 1)

    texts, answers = judged([right(text) for text in language.texts]), judged(done)
    after = torch.where(answer, 0, before * len(language.symbols) + token + 1)
    scores = torch.where(answer, answers[:, None], texts[after])  # of each step

    def shaped(name: str) -> Tensor:
        if name == "success only":
            return torch.zeros_like(scores)
        if name == "raw":
            return torch.where(there, scores, 0.0)
        if name == "clip":
            return clip(scores, there, threshold=0.7)
        if name == "delta":
            return delta(scores, there)
        return delta((scores - 0.7).clamp(max=0), there)  # the clipped scores, as differences

    figures = {"success, start": float(expectation(Forgetful(language, seed)().detach()[0], solved))}
    for name in ("success only", "raw", "clip", "delta", "clip + delta"):
        policy = Forgetful(language, seed)
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
