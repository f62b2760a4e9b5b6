"""MAPL: turn the prompt, not the response, and a model learns which instructions a response keeps."""

import torch
from torch import Tensor, nn

from espalier.exact import anneal
from espalier.losses.reward import bradley_terry
from papers import Below, Less, Paper
from papers.preferences._shared import normal

PAPER = Paper(
    id="P230",
    title="Multi-Level Aware Preference Learning: Enhancing RLHF for Complex Multi-Instruction Tasks",
    claim="from the same labelled pairs a reward model learns more of instructions if it also compares prompts for one "
    "response (one whose instructions it keeps, one in which some are turned) and margins of one pair under more or "
    "fewer instructions; each of the two losses helps, and what it knew of general quality stays",
    measured="responses of 24 features, six checkable instructions (a feature's sign, asked for or forbidden, or not "
    "spoken of), 150 pairs labelled by quality plus instructions kept, of which the prompt gives one or two; bilinear "
    "reward models; new prompts of four instructions: accuracy of finding the response that keeps more of them, and of "
    "pairs that differ in quality only",
    rule=[
        Less("compliance, pairs alone", "compliance, with prompts"),
        Less("compliance, pairs alone", "compliance, with margins"),
        Less("compliance, with prompts", "compliance, with both"),
        Below("quality lost, with both", 0.02),
    ],
    seeds=20,
)
SIZE, RULES, PAIRS, TESTS = 24, 6, 150, 400


class Judge(nn.Module):
    """The reward of a response to a prompt: general quality, and what each instruction makes of its features."""

    def __init__(self) -> None:
        super().__init__()
        self.quality = nn.Parameter(torch.zeros(SIZE).double())
        self.asked = nn.Parameter(torch.zeros(RULES, SIZE).double())

    def forward(self, prompt: Tensor, response: Tensor) -> Tensor:
        return response @ self.quality + ((prompt @ self.asked) * response).sum(-1)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    draw, chance = normal(seed), torch.Generator().manual_seed(seed)

    def instructions(many: int, count: int) -> Tensor:
        """So many prompts, each with `count` of the instructions: 1 for "do", -1 for "do not", 0 for not spoken of."""
        place = torch.rand(many, RULES, generator=chance).argsort(-1)
        sign = 2.0 * torch.randint(2, (many, RULES), generator=chance) - 1
        return torch.where(place < count, sign, 0.0).double()

    def kept(prompt: Tensor, response: Tensor) -> Tensor:
        """The instructions kept, less those broken."""
        return (prompt * response[..., :RULES].sign()).sum(-1)

    taste = torch.cat([torch.zeros(RULES), torch.ones(SIZE - RULES)]).double() * draw(SIZE) / 2
    prompt = torch.cat([instructions(PAIRS // 2, 1), instructions(PAIRS // 2, 2)])
    one, two = draw(2, PAIRS, SIZE) * SIZE**0.5
    better = (one - two) @ taste + kept(prompt, one) - kept(prompt, two)
    first = torch.bernoulli(better.sigmoid(), generator=chance).bool()[:, None]
    chosen, rejected = torch.where(first, one, two), torch.where(first, two, one)

    # Prompts for one response: three instructions that it keeps, and the same with one to three of them turned.
    both = torch.cat([chosen, rejected])
    good = instructions(len(both), 3).abs() * both[:, :RULES].sign()
    turned = torch.rand(len(both), RULES, generator=chance) < 0.5
    turned[torch.arange(len(both)), good.abs().argmax(-1)] = True
    bad = torch.where(turned, -good, good)
    # More instructions for one pair: all that are not spoken of yet and tell its two responses apart.
    apart = (chosen[:, :RULES].sign() != rejected[:, :RULES].sign()) & (prompt == 0)
    more = torch.where(apart, chosen[:, :RULES].sign(), prompt)
    used = apart.any(-1)

    def trained(prompts: bool, margins: bool) -> Judge:
        judge = Judge()

        def loss() -> Tensor:
            margin = judge(prompt, chosen) - judge(prompt, rejected)
            value = bradley_terry(judge(prompt, chosen), judge(prompt, rejected)).mean()
            if prompts:
                value = value + bradley_terry(judge(good, both), judge(bad, both)).mean()
            if margins:
                wider = judge(more, chosen) - judge(more, rejected)
                value = value + bradley_terry(wider[used], margin[used]).mean()
            return value

        anneal(judge, loss, 3 if smoke else 80, lr=0.05)
        return judge

    asked, response, other = instructions(TESTS, 4), *(draw(2, TESTS, SIZE) * SIZE**0.5)
    same = torch.cat([other[:, :RULES], response[:, RULES:]], -1)  # in quality, not in the instructions kept
    equal = torch.cat([response[:, :RULES], other[:, RULES:]], -1)
    differs = kept(asked, response) != kept(asked, same)
    figures = {}
    names = {"pairs alone": (False, False), "with prompts": (True, False), "with margins": (False, True)}
    for name, which in {**names, "with both": (True, True)}.items():
        judge = trained(*which)
        right = (judge(asked, response) > judge(asked, same)) == (kept(asked, response) > kept(asked, same))
        figures[f"compliance, {name}"] = float(right[differs].double().mean())
        right = (judge(asked, response) > judge(asked, equal)) == ((response - equal) @ taste > 0)
        figures[f"quality, {name}"] = float(right.double().mean())
    return figures | {"quality lost, with both": figures["quality, pairs alone"] - figures["quality, with both"]}
