"""Chains of small calculations: a prompt has a number and operations, a response the number after each of them.

"20431" asks to start at 2 and do operations 0, 4, 3, 1 in turn. A reasoner has one skill for each operation on each
number, so what it learns from one problem it uses in others, and its chance to solve any problem is a product of
skills: all problems there are can be marked exactly. After a mistake it goes on from the wrong number, and a step
that is right of itself stands in a wrong solution. Every number can be written by two hands, "012345" and "abcdef".
"""

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from espalier.engines import Sampling
from espalier.exact import ExactEngine, Language, Policy, anneal
from espalier.losses.preference import core, dpo
from espalier.scorers.leaves import Verifier
from espalier.trees import Forest, Node, Score, Tree, pairs

NUMBERS, STEPS = 6, 4
SYMBOLS = "012345abcdef"


class Task(NamedTuple):
    """Attributes: what each operation makes of each number, [operations, numbers]; the problems to learn from."""

    results: Tensor
    language: Language

    def bare(self) -> Forest:
        """The problems, as trees without a response."""
        prompts = self.language.prompts
        return Forest([Tree(Node(p, "prompt", token_ids=[int(c) for c in p]), p) for p in prompts])

    def steps(self, node: Node) -> list[bool]:
        """Which steps up to this node are right, counted from where each one starts."""
        numbers = [SYMBOLS.index(symbol) % NUMBERS for symbol in node.full_text()[STEPS + 1 :]]
        prompt, before = node.root().text, [int(node.root().text[0]), *numbers]
        return [int(self.results[int(prompt[1 + k]), before[k]]) == number for k, number in enumerate(numbers)]


def task(seed: int, problems: int, merging: bool = False) -> Task:
    """Random operations: permutations of the numbers, or, `merging`, any maps, which can hide a mistake."""
    chance = torch.Generator().manual_seed(seed)
    if merging:
        results = torch.randint(NUMBERS, (NUMBERS, NUMBERS), generator=chance)
    else:
        results = torch.stack([torch.randperm(NUMBERS, generator=chance) for _ in range(NUMBERS)])
    which = torch.randperm(NUMBERS ** (STEPS + 1), generator=chance)[:problems].tolist()
    prompts = ["".join(str(n // NUMBERS**k % NUMBERS) for k in range(STEPS + 1)) for n in which]
    return Task(results, Language(SYMBOLS, length=STEPS, end=False, prompts=tuple(prompts)))


class Answer(Verifier):
    """1 where the last number is right, whatever the way."""

    def __init__(self, task: Task, name: str = "correct") -> None:
        super().__init__(name)
        self.results = task.results

    def judge(self, node: Node, tree: Tree) -> Score:
        number = int(tree.prompt[0])
        for operation in tree.prompt[1:]:
            number = int(self.results[int(operation), number])
        said = node.response()
        return Score(float(SYMBOLS.index(said[-1]) % NUMBERS == number))


class StepCheck(Answer):
    """1 on each step that is right of itself and follows right steps only."""

    def __init__(self, task: Task) -> None:
        super().__init__(task, "step")
        self.task = task

    def nodes(self, tree: Tree) -> Iterator[Node]:
        return (node for node in tree.walk() if node is not tree.root)

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(all(self.task.steps(node))))


def split(tree: Tree) -> Tree:
    """A copy with a node for each step: here, for each symbol."""
    cut = tree.copy()
    for node in list(cut.walk()):
        if node.parent is not None and len(node.text) > 1:
            above = node.parent
            node.detach()
            for symbol in node.text[:-1]:
                above = above.add(Node(symbol, token_ids=[SYMBOLS.index(symbol)]))
            node.text, node.token_ids = node.text[-1], (node.token_ids or [])[-1:]
            node.logprobs = None
            above.add(node)
    return cut


class Reasoner(Policy):
    """The next number from the operation and the number before it: `reference + features @ weights`.

    Attributes:
        start: logits of every skill, [operations, numbers, symbols].
        features: of each entry of a skill, [operations, numbers, symbols, dimensions].
        weights: what is trained.
    """

    def __init__(self, task: Task, start: Tensor, features: Tensor) -> None:
        super().__init__(task.language)
        self.start, self.features = start, features
        self.weights = nn.Parameter(features.new_zeros(features.shape[-1]))
        texts = task.language.texts[: task.language.prefixes]
        last = torch.tensor([SYMBOLS.index(text[-1]) % NUMBERS if text else -1 for text in texts])
        depth = torch.tensor([len(text) for text in texts])
        prompts = torch.tensor([[int(symbol) for symbol in prompt] for prompt in task.language.prompts])
        self.operation = prompts[:, 1:][:, depth]
        self.number = torch.where(last < 0, prompts[:, :1], last)

    def skills(self) -> Tensor:
        """Log-probs of the next symbol, [operations, numbers, symbols]."""
        return (self.start + self.features @ self.weights).log_softmax(-1)

    def next_logprobs(self) -> Tensor:
        return self.skills()[self.operation, self.number]


class Steps(NamedTuple):
    """Responses as places in the table of skills, and which steps are there; each [responses, STEPS]."""

    operation: Tensor
    number: Tensor
    symbol: Tensor
    there: Tensor

    @classmethod
    def of(cls, leaves: Iterable[Node]) -> "Steps":
        rows = []
        for leaf in leaves:
            prompt, said = leaf.root().text, [SYMBOLS.index(symbol) for symbol in leaf.response()]
            before = [int(prompt[0]), *(symbol % NUMBERS for symbol in said)]
            padded = [(int(prompt[1 + k]), before[k], symbol, 1) for k, symbol in enumerate(said)]
            rows.append(padded + [(0, 0, 0, 0)] * (STEPS - len(said)))
        operation, number, symbol, there = torch.tensor(rows).unbind(-1)
        return cls(operation, number, symbol, there.bool())

    @classmethod
    def joined(cls, parts: Iterable["Steps"]) -> "Steps":
        return cls(*map(torch.cat, zip(*parts, strict=True)))

    def logprob(self, skills: Tensor) -> Tensor:
        """Of each response, under these skills."""
        return core.total(skills[self.operation, self.number, self.symbol], self.there)


def sampled(task: Task, policy: Reasoner, n: int, seed: int) -> Forest:
    """This many responses to each problem, marked by `Answer`."""
    forest, engine = task.bare(), ExactEngine(policy)
    roots = [tree.root for tree in forest]
    for root, nodes in zip(roots, engine.extend(roots, n, Sampling(max_tokens=STEPS, seed=seed)), strict=True):
        for node in nodes:
            root.add(node)
    return Answer(task).score(forest)


def compared(forest: Iterable[Tree], by: str = "preference") -> tuple[Steps, Steps]:
    """The chosen and the rejected responses of all pairs."""
    found = [pair for tree in forest for pair in pairs(tree, by)]
    return Steps.of(pair.chosen for pair in found), Steps.of(pair.rejected for pair in found)


def learned(model: Reasoner, loss: Callable[[Tensor], Tensor], steps: int, lr: float) -> Reasoner:
    """A copy of the model after these steps of Adam down a loss of its skills."""
    found = deepcopy(model)
    anneal(found, lambda: loss(found.skills()).mean(), steps, lr)
    return found


def preferring(model: Reasoner, pairs: tuple[Steps, Steps], beta: float = 0.1) -> Callable[[Tensor], Tensor]:
    """DPO's loss of skills on these pairs, with the model as it is for reference."""
    before = model.skills().detach()
    return lambda skills: dpo(*(side.logprob(skills) - side.logprob(before) for side in pairs), beta)


def mastered(task: Task, skills: Tensor) -> Tensor:
    """The chance of a right step, in either hand, for each operation on each number."""
    both = torch.stack([task.results, task.results + NUMBERS], -1)
    return skills.exp().gather(-1, both).sum(-1)


def accuracy(task: Task, model: Reasoner) -> float:
    """The chance to take only right steps, over all problems there are."""
    skills = model.skills().detach()
    right, value = mastered(task, skills), torch.ones(NUMBERS, dtype=skills.dtype)
    for _ in range(STEPS):
        value = (right * value[task.results]).mean(0)
    return float(value.mean())


def novice(task: Task, seed: int, skill: float = 1.5, other_hand: float = -3.0) -> Tensor:
    """Logits of one who writes with the first hand, mostly, and masters some skills better than others."""
    chance = torch.Generator().manual_seed(seed + 1000)
    logits = torch.randn(NUMBERS, NUMBERS, 2 * NUMBERS, generator=chance, dtype=torch.float64)
    level = skill + torch.randn(NUMBERS, NUMBERS, 1, generator=chance, dtype=torch.float64)
    right = torch.zeros_like(logits).scatter(-1, torch.stack([task.results, task.results + NUMBERS], -1), 1.0)
    logits = logits + (level + 1) * right
    logits[..., NUMBERS:] = logits[..., :NUMBERS] + other_hand
    return logits


def table(hand: float = 1.0) -> Tensor:
    """Features: a weight for each entry of the table of skills, and one, as strong as `hand`, for the second hand."""
    own = torch.eye(NUMBERS * NUMBERS * 2 * NUMBERS, dtype=torch.float64)
    second = (torch.arange(len(own)) % (2 * NUMBERS) >= NUMBERS).double()
    return torch.cat([own, hand * second[:, None]], -1).view(NUMBERS, NUMBERS, 2 * NUMBERS, -1)


def overlapping(seed: int, dimensions: int, scale: float) -> Tensor:
    """Features: those of `table`, and this many of any size, through which every entry moves all others."""
    chance = torch.Generator().manual_seed(seed + 2000)
    shape = (NUMBERS, NUMBERS, 2 * NUMBERS, dimensions)
    return torch.cat([table(), scale * torch.randn(shape, generator=chance, dtype=torch.float64)], -1)
