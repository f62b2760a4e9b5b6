"""A hint makes a writer call a tool that it never calls by itself; fine-tuned on what that solved, it needs no hint."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from espalier import Engine, Forest, Node, NumericMatch, Sample, Sampling, Tree
from espalier.curation import keep_above
from espalier.curation.hinted import hinted_demonstrations
from espalier.engines import Calculator, Call, Hint, ToolEngine
from espalier.exact import anneal
from espalier.losses import nll
from espalier.trees import Ledger
from papers import Above, Below, Less, Lines, Paper

TIMES = (1, 2, 4)
PAPER = Paper(
    id="P089",
    title="START: Self-taught Reasoner with Tools",
    claim="a hint put into its reasoning makes a model call a tool that it does not call by itself, without any "
    "demonstration; the more hints at the end, the more it solves; fine-tuned on the hinted responses that solve what "
    "it could not, and again on its own right responses, it calls the tool unasked and solves more hard problems than "
    "with a hint, and than after rejection sampling without tools",
    measured="sums whose hard ones a writer mostly gets wrong by heart; its next word follows from additive features "
    "(the word before, whether a tool has answered, the level), fitted to 600 solutions without a tool and 150 "
    "exercises, under a header of their own, that say the hint and use a calculator; half of the wrong calls to it are "
    "no expression, and it says so; 120 problems to learn from, 160 hard and 40 easy ones for the figures: right on "
    "hard ones, and how often the tool is called",
    rule=[
        Below("calls, plain", 0.05),
        Less("right, plain", "right, hint after a doubt"),
        Less("right, plain", "right, hints at the end, 1"),
        Less("right, hints at the end, 1", "right, hints at the end, 2"),
        Less("right, hints at the end, 2", "right, hints at the end, 4"),
        Less("right, doubts at the end, 4", "right, hints at the end, 4"),
        Above("calls, START", 0.5),
        Less("right, hint after a doubt", "right, START"),
        Less("right, rejection sampling without tools", "right, START"),
    ],
    figure=Lines(
        "put in at the end",
        "right on hard problems",
        {
            "hints": [(0, "right, plain"), *((n, f"right, hints at the end, {n}") for n in TIMES)],
            "doubts": [(0, "right, plain"), (4, "right, doubts at the end, 4")],
        },
    ),
    seeds=12,
    tried="Eight of the nine rules hold, all on Hint-RFT among them; whether four hints at the end solve more than two "
    "is not known: 0.11 right without, then 0.58, 0.65 and 0.66 with one, two and four, 0.01 [-0.02, 0.04] more for "
    "the last two. First a wrong call was never seen to be wrong: it gave a wrong number, so that there was nothing to "
    "debug, which the paper names among what hints bring about. There four hints were 0.020 [0.004, 0.036] worse than "
    "two (0.61, 0.63): not reproduced (three development seeds had said 0.67 and 0.63, one of them in an earlier mix "
    "of levels, and 12 seeds were then planned for 8). So the testbed was changed after that count, once, by half of "
    "the wrong calls failing, a share that we chose; the rule is as first written. It is too small an effect for more "
    "data: to tell 0.01 from 0, with a standard deviation of 0.047 over seeds, takes about 180 of them, a quarter of "
    "an hour. After two hints 92 % of the responses have called the tool, so more have little to add, and each is also "
    "a chance to work a right answer over by heart; the paper's curve may rest on problems that need several calls, "
    "where here one is enough. The second round of rejection sampling adds little to the first (0.82, then 0.83).",
)

GLANCE, STEPS, DOUBT, HINT, CALL, ANSWER, END, START, RESULT, HEADER, AGAIN = range(11)
"""The first seven are words that are written; the others stand for what is only read; AGAIN: a hint after a result."""
DOUBTED, HINTED = "Wait, ", "Perhaps the calculator helps: "
FOLLOWS = {
    START: {GLANCE: 0.4, STEPS: 0.6},
    GLANCE: {ANSWER: 0.6, DOUBT: 0.4},
    STEPS: {ANSWER: 0.75, DOUBT: 0.25},
    DOUBT: {GLANCE: 0.3, STEPS: 0.7},
    HEADER: {HINT: 1.0},
    HINT: {CALL: 0.7, STEPS: 0.3},
    RESULT: {ANSWER: 0.7, HINT: 0.15, STEPS: 0.1, CALL: 0.05},
    AGAIN: {ANSWER: 0.6, CALL: 0.4},
    ANSWER: {END: 1.0},
}
"""What the texts that the writer has read are made of; around these shares each seed draws its own."""
FORMS = ("{}+{}", "{}*{}", "{}*{}-{}")
RIGHT = {GLANCE: (0.9, 0.4, 0.02), STEPS: (0.95, 0.7, 0.15), CALL: (0.98, 0.95, 0.85)}
"""How often a number by heart, or an expression for the tool, is right, at each level. Training does not change it.

Half of the wrong expressions are none, and the tool says so; what is answered then is the number known before.
"""


class Habits(nn.Module):
    """The law of the next word: a score for each feature of what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.ParameterList([torch.zeros(size, END + 1) for size in (HEADER + 1, 2, len(FORMS))])

    def forward(self, read: Tensor) -> Tensor:
        """From "places features" to log-probs, "places words"."""
        return sum(table[read[:, i]] for i, table in enumerate(self.scores)).log_softmax(-1)

    def learn(self, rows: Sequence[tuple[int, ...]], steps: int, decay: float = 0.0) -> "Habits":
        """Supervised fine-tuning of a copy on rows of what was read and the word after it."""
        tuned, (data, counts) = Habits(), torch.tensor(rows).unique(dim=0, return_counts=True)
        tuned.load_state_dict(self.state_dict())

        def loss() -> Tensor:
            kept = decay * sum(table.square().sum() for table in tuned.scores)
            each = nll(tuned(data[:, :-1]).gather(1, data[:, -1:])[:, 0])
            return (counts * each).sum() / counts.sum() + kept

        anneal(tuned, loss, steps, lr=0.1)
        return tuned


def documents(rng: np.random.Generator, plain: int, exercises: int) -> list[tuple[int, ...]]:
    """As rows: the word before, whether a result came, the level, the word."""
    laws = {at: rng.dirichlet(30 * np.array(list(follows.values()))) for at, follows in FOLLOWS.items()}
    rows = list[tuple[int, ...]]()
    for number in range(plain + exercises):
        at, called, level = START if number < plain else HEADER, 0, int(rng.integers(len(FORMS)))
        while at != END:
            key = AGAIN if at == HINT and called else at
            word = int(rng.choice(list(FOLLOWS[key]), p=laws[key]))
            rows.append((at, called, level, word))
            at, called = (RESULT, 1) if word == CALL else (word, called)
    return rows


def read(leaf: Node) -> tuple[list[tuple[int, ...]], tuple[int, int, int]]:
    """The policy's words as rows, and what the next one follows: a word, whether a result came, the level."""
    rows, at, called, level = list[tuple[int, ...]](), START, 0, leaf.root().meta["level"]
    for node in leaf.path()[1:]:
        inserted = RESULT if node.author == "tool" else DOUBT if node.text == DOUBTED else HINT
        for word in [inserted] if node.token_ids is None else node.token_ids:
            if node.author == "policy":
                rows.append((at, called, level, word))
            at, called = word, int(called or word == RESULT)
    return rows, (at, called, level)


class Writer(Engine):
    """Writes words by its habits; whether the numbers in them are right is a matter of luck."""

    def __init__(self, habits: Habits) -> None:
        sizes = [len(table) for table in habits.scores]
        every = torch.cartesian_prod(*map(torch.arange, sizes))
        self.law, self.spent = habits(every).detach().exp().cumsum(-1).view(*sizes, -1).numpy(), Ledger()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        rng = np.random.default_rng([sampling.seed, self.spent.calls])
        self.spent += Ledger(calls=1)
        return [[self.write(prefix, rng, sampling) for _ in range(n)] for prefix in prefixes]

    def write(self, prefix: Node, rng: np.random.Generator, sampling: Sampling) -> Node:
        at, called, level = read(prefix)[1]
        node, words = Node("", stop="length"), list[int]()
        for _ in range(sampling.max_tokens):
            at = int((self.law[at, called, level, :-1] < rng.random()).sum())
            node.text += self.say(at, prefix, node.text, at in RIGHT and rng.random() > RIGHT[at][level], rng)
            words.append(at)
            if at == END or node.text.endswith(sampling.stop):
                node.stop = "eos" if at == END else "stop"
                break
        node.token_ids = words
        return node

    def say(self, word: int, prefix: Node, text: str, wrong: bool, rng: np.random.Generator) -> str:
        problem = prefix.root().text
        if word == CALL:
            slip = str(rng.choice([str(rng.integers(10)), "+"])) if wrong else ""
            return f"<calculator>{problem}{slip}</calculator>"
        if word == ANSWER:
            known = re.findall(r"-?\d+", re.sub("<calculator>.*?</calculator>", "", prefix.response() + text))
            return f"#### {known[-1] if known else 0} "
        if word in (GLANCE, STEPS):
            return f"{solution(problem) + wrong * int(rng.choice([-10, -2, -1, 1, 2, 10]))} "
        return {DOUBT: DOUBTED, HINT: HINTED, END: ""}[word]


@cache
def solution(problem: str) -> int:
    return int(Calculator().call(problem))


def problems(rng: np.random.Generator, *counts: int) -> Forest:
    """So many of each level."""
    trees = []
    for number, level in enumerate(np.repeat(range(len(FORMS)), counts).tolist()):
        text = FORMS[level].format(*rng.integers(11, 99, size=3))
        root = Node(text, "prompt", meta={"level": level})
        trees.append(Tree(root, id=f"{number}", meta={"answer": str(solution(text))}))
    return Forest(trees)


def answered(to: Forest, habits: Habits, n: int, seed: int, hint: Hint | None = None) -> Forest:
    """Samples with the calculator at hand, and their scores."""
    engine = ToolEngine(Writer(habits), [Call(Calculator())], max_calls=6, hint=hint)
    return NumericMatch().score(
        Sample(n, Sampling(max_tokens=40, seed=seed), batch=200).search(to.prompts(), engine).forest
    )


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    train, test = problems(rng, *[10 if smoke else 40] * 3), problems(rng, 10 if smoke else 40, 0, 10 if smoke else 160)
    base = Habits().learn(documents(rng, 600, 150), 300, decay=1e-4)
    after, end = Hint(HINTED, after=(DOUBTED,)), Hint(HINTED)

    def tuned(data: Forest) -> Habits:
        return base.learn([row for leaf in data.leaves() for row in read(leaf)[0]], 100)

    plain = answered(train, base, 2, seed)
    found = [hinted_demonstrations(plain, answered(train, base, 4, seed, hint), "correct") for hint in (after, end)]
    first = tuned(Forest([tree for data in found for tree in data]))
    start = tuned(keep_above(answered(train, first, 4, seed), "correct", 0.5))
    without = tuned(keep_above(answered(train, base, 4, seed), "correct", 0.5))
    arms: dict[str, tuple[Habits, Hint | None]] = {
        "plain": (base, None),
        "hint after a doubt": (base, after),
        **{f"hints at the end, {n}": (base, Hint(HINTED, times=n)) for n in TIMES},
        "doubts at the end, 4": (base, Hint(DOUBTED, times=4)),
        "first round": (first, None),
        "START": (start, None),
        "START with 4 hints": (start, Hint(HINTED, times=4)),
        "rejection sampling without tools": (without, None),
    }
    figures = {}
    for name, (habits, hint) in arms.items():
        solved = answered(test, habits, 2, seed + 1, hint)
        for level, which in ((2, ""), (0, ", easy")):
            leaves = [leaf for tree in solved for leaf in tree.leaves() if tree.root.meta["level"] == level]
            figures[f"right, {name}{which}"] = float(np.mean([leaf.value("correct") for leaf in leaves]))
            calls = [any(node.author == "tool" for node in leaf.path()) for leaf in leaves]
            figures[f"calls, {name}{which}"] = float(np.mean(calls))
    return figures
