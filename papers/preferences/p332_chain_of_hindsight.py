"""Chain of hindsight: a model that reads good and bad answers side by side writes better ones when asked for good."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from espalier.curation.hindsight import hindsight
from espalier.exact import bandit, expectation, responses
from espalier.losses import nll
from espalier.trees import Forest, Score
from papers import Less, Paper
from papers.preferences._shared import drawn, normal

PAPER = Paper(
    id="P332",
    title="Chain of Hindsight Aligns Language Models with Feedback",
    claim="trained by likelihood on pairs of answers in a row, each after a word on whether it is the better or the "
    "worse, a model asked for a good answer does better than after fine-tuning on the better answers, or on single "
    "answers with their words; asked for a bad one it writes worse than before",
    measured="20 prompts of 30 responses with shared features; 40 noisily labelled pairs for half of the prompts; a "
    "taste for features that a small network reads off the word and, in hindsight, the answer before (hidden for 15 % "
    "of the pairs); each way after the best number of steps up to 150: exact mean reward on the other prompts; and (no "
    "rule) of the answer after the model's own, shown as a bad one",
    rule=[
        Less("reward, better ones only", "reward, hindsight"),
        Less("reward, words on single answers", "reward, hindsight"),
        Less("reward, hindsight, asked for bad", "reward, base"),
    ],
    seeds=16,
    tried="That the model improves on its own answer, shown as a bad one, hangs on the data: on five other seeds it "
    "did with 600 pairs of 15 prompts (0.88, then 1.12) and on six did not with the 400 pairs of 10 prompts of this "
    "file (1.22, then 1.05), so no rule asks for it. Reinforcement learning, the paper's third rival, is not run.",
)
PROMPTS, ARMS, SIZE, NONE = 20, 30, 8, -1
WORDS = ("", "+", "-")
"""No word, one before the better answer, one before the worse."""


class Reader(nn.Module):
    """`log base + features @ taste(word, answer before) - log Z`, the taste a network with a skip."""

    def __init__(self, features: Tensor, base: Tensor, seed: int) -> None:
        super().__init__()
        self.features, self.base = features, base
        draw = normal(seed + 7)
        self.read, self.tell = nn.Parameter(draw(len(WORDS) + SIZE, 32) / 2), nn.Parameter(draw(32, SIZE) / 50)
        self.skip = nn.Parameter(features.new_zeros(len(WORDS) + SIZE, SIZE))

    def forward(self, prompt: Tensor, word: Tensor, before: Tensor) -> Tensor:
        """The law of the next answer, [items, ARMS]; `before` is NONE where there is no answer before."""
        seen = torch.where((before >= 0)[:, None], self.features[prompt, before.clamp(min=0)], 0.0)
        shown = torch.cat([nn.functional.one_hot(word, len(WORDS)).to(seen), seen], -1)
        taste = torch.tanh(shown @ self.read) @ self.tell + shown @ self.skip
        return (self.base[prompt] + torch.einsum("iad,id->ia", self.features[prompt], taste)).log_softmax(-1)

    @torch.no_grad()
    def asked(self, prompts: Tensor, word: int) -> Tensor:
        """The law of an answer to each prompt after this word, nothing before it."""
        return self(prompts, torch.full_like(prompts, word), torch.full_like(prompts, NONE))

    @torch.no_grad()
    def revised(self, prompts: Tensor, draft: Tensor) -> Tensor:
        """The law of a good answer after a draft of this law was shown as a bad one."""
        every = torch.arange(ARMS).repeat(len(prompts))
        after = self(prompts.repeat_interleave(ARMS), torch.ones_like(every), every).view(len(prompts), ARMS, ARMS)
        return torch.einsum("pa,pab->pb", draft.exp(), after.exp()).log()


def measure(seed: int, smoke: bool) -> dict[str, float]:
    draw, chance, language = normal(seed), torch.Generator().manual_seed(seed), bandit(ARMS, prompts=PROMPTS)
    features, base = SIZE**0.5 * draw(PROMPTS, ARMS, SIZE), draw(PROMPTS, ARMS).log_softmax(-1)
    reward = 2 * features @ draw(SIZE) / SIZE**0.5 + 0.5 * draw(PROMPTS, ARMS)
    known, new = torch.arange(PROMPTS // 2), torch.arange(PROMPTS // 2, PROMPTS)
    chosen, rejected = drawn(base[known], reward[known], 8 if smoke else 40, seed)
    nobody: list[list[int]] = [[] for _ in new]
    forest = Forest(
        tree
        for k in range(chosen.shape[1])
        for tree in responses(language, torch.stack([chosen[:, k], rejected[:, k]], 1).tolist() + nobody)[: len(known)]
    )
    for tree in forest:
        for leaf, value in zip(tree.leaves(), (1.0, 0.0), strict=True):
            leaf.scores["preference"] = Score(value)
    rows = []
    for tree in hindsight(forest, better=WORDS[1:2], worse=WORDS[2:], seed=seed):
        _, *chain = [node.text for node in tree.walk()]
        words, answers = map(WORDS.index, chain[::2]), map(language.symbols.index, chain[1::2])
        rows.append([language.prompts.index(tree.prompt), *words, *answers])
    prompt, word, later_word, answer, later = torch.tensor(rows).unbind(-1)
    alone, good = torch.full_like(prompt, NONE), torch.where(word == 1, answer, later)

    def likelihood(law: Tensor, said: Tensor) -> Tensor:
        return nll(law.gather(1, said[:, None])).mean()

    def in_hindsight(model: Reader) -> Tensor:
        seen = torch.where(torch.rand(len(answer), generator=chance) < 0.15, alone, answer)
        return likelihood(model(prompt, word, alone), answer) + likelihood(model(prompt, later_word, seen), later)

    ways: dict[str, Callable[[Reader], Tensor]] = {
        "better ones only": lambda model: likelihood(model(prompt, torch.zeros_like(word), alone), good),
        "words on single answers": lambda model: (
            likelihood(model(prompt, word, alone), answer) + likelihood(model(prompt, later_word, alone), later)
        ),
        "hindsight": in_hindsight,
    }
    figures = {"reward, base": float(expectation(base[new], reward[new]).mean())}
    for name, loss in ways.items():
        model = Reader(features, base, seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        for number in range(10 if smoke else 150):
            optimiser.zero_grad()
            loss(model).backward()
            optimiser.step()
            if number % 10 == 9:
                law = model.asked(new, word=int(name != "better ones only"))
                laws = {"": law}
                if name == "hindsight":
                    laws = {"": law, ", revised": model.revised(new, law), ", asked for bad": model.asked(new, word=2)}
                earned = {which: float(expectation(one, reward[new]).mean()) for which, one in laws.items()}
                if earned[""] > figures.get(f"reward, {name}", -torch.inf):
                    figures |= {f"reward, {name}{which}": value for which, value in earned.items()}
    return figures
