r"""A world of multi-step arithmetic: problems without end, worked solutions, and an exact verdict on every step.

A prompt is an expression; a response does one operation a line and marks its answer:

    17+25*3-8=
    25*3=75
    75-8=67
    17+67=84
    #84

An operation may join any two terms that are still there, and the answer may be marked at any time by those who do the
rest in their head. So a problem has many right solutions, some easier than others, and independent ones can check each
other. No number on the way is negative.

Each step ends with a line break, so `stop=("\n",)` pauses a sampler after a step. The level of a problem is its
number of operations.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from math import prod
from typing import Literal

import numpy as np

from espalier.scorers.leaves import Verifier
from espalier.trees import Forest, Node, Score, Tree

Split = Literal["train", "held_out"]
ALPHABET = "0123456789+-*=#\n"
"""Every character of this world's prompts and responses."""

_MARK = re.compile(r"#(0|[1-9]\d*)")
_HELD_OUT = 0.1

State = tuple[tuple[str, tuple[int, ...]], ...]
"""What is left to do: signed products, sorted, since their order does not matter. Empty once the answer is marked."""


def split_of(prompt: str) -> Split:
    """The split that a problem belongs to, whoever draws it and whenever: a tenth of all problems is held out."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return "held_out" if int.from_bytes(digest[:8]) < _HELD_OUT * 2**64 else "train"


def read(prompt: str) -> State:
    r"""What a prompt asks for.

    >>> read("17+25*3-8=\n")
    (('+', (3, 25)), ('+', (17,)), ('-', (8,)))

    Raises:
        ValueError: the text is not a problem of this world.
    """
    if not re.fullmatch(r"\d+([-+*]\d+)*=\n", prompt):
        raise ValueError(f"not a problem of the arithmetic world: {prompt!r}")
    terms = re.findall(r"([-+]?)(\d+(?:\*\d+)*)", prompt)
    return _state((sign or "+", tuple(map(int, factors.split("*")))) for sign, factors in terms)


def moves(state: State) -> list[tuple[str, State]]:
    r"""Every line that may be written next, with what it leaves to do.

    >>> [line for line, _ in moves(read("17+25*3-8=\n"))]
    ['#84', '3*25=75', '25*3=75', '17-8=9']
    """
    if not state:
        return []
    found: list[tuple[str, State]] = [(f"#{_totals(state)[1]}", ())]
    for at, (sign, factors) in enumerate(state):
        for i, j in permutations(range(len(factors)), 2):
            product = factors[i] * factors[j]
            left = (sign, (product, *(factor for k, factor in enumerate(factors) if k not in (i, j))))
            found.append((f"{factors[i]}*{factors[j]}={product}", _state([left, *state[:at], *state[at + 1 :]])))
    for i, j in permutations([at for at, (_, factors) in enumerate(state) if len(factors) == 1], 2):
        (first, (a,)), (second, (b,)) = state[i], state[j]
        result = a + b if second == "+" else a - b
        if first == "+" and result >= 0:
            rest = (term for k, term in enumerate(state) if k not in (i, j))
            found.append((f"{a}{second}{b}={result}", _state([("+", (result,)), *rest])))
    return list(dict.fromkeys(found))


def solve(prompt: str, rng: np.random.Generator, in_head: int = 0) -> list[str]:
    r"""A worked solution: one line a step, in an order that is drawn at random, the marked answer last.

    The last `in_head` operations are not written down.

    >>> solve("17+25*3=\n", np.random.default_rng(0)), solve("17+25*3=\n", np.random.default_rng(0), in_head=1)
    (['25*3=75', '75+17=92', '#92'], ['25*3=75', '#92'])
    """
    state, lines = read(prompt), []
    while state:
        mark, *joins = moves(state)
        done = sum(len(factors) for _, factors in state) - 1 <= in_head
        line, state = mark if done else joins[rng.integers(len(joins))]
        lines.append(line)
    return lines


def check_steps(prompt: str, response: str) -> list[bool]:
    r"""For each line of the response, whether it and all lines before it are right.

    A line is right when it is one of the `moves` that the lines before it leave. After a wrong line nothing is right,
    because what is left to do no longer gives the answer to the problem.

    >>> check_steps("2+3*4=\n", "3*4=12\n2+12=15\n#15")
    [True, False, False]
    """
    # Two terms can have the same factors, so a line may leave one of several states.
    states = {read(prompt)}
    verdicts = []
    for line in response.removesuffix("\n").split("\n") if response else []:
        states = {after for state in states for move, after in moves(state) if move == line}
        verdicts.append(bool(states))
    return verdicts


def final_answer(response: str) -> str | None:
    r"""The marked answer, or None where the last line marks none.

    >>> final_answer("1+1=2\n#2"), final_answer("1+1=2")
    ('2', None)
    """
    found = _MARK.fullmatch(response.removesuffix("\n").split("\n")[-1])
    return found[1] if found else None


def _state(terms: Iterable[tuple[str, tuple[int, ...]]]) -> State:
    return tuple(sorted((sign, tuple(sorted(factors))) for sign, factors in terms))


class Arithmetic:
    """Draws problems of this world.

    Args:
        levels: the numbers of operations to draw; each gets its equal share, in turn.
        largest: the largest operand. A factor on the right of `*` has one digit, and no number on any way to the answer
            reaches 10 * (largest + 1).
        operators: which of `+-*` to draw, each as often as the others.

    >>> Arithmetic(levels=(1, 2)).problems(2)[1].meta["level"]
    2
    """

    def __init__(self, levels: Sequence[int] = (2, 3, 4), largest: int = 99, operators: str = "+-*") -> None:
        if not levels or min(levels) < 1:
            raise ValueError(f"levels must be numbers of operations, at least 1, found {tuple(levels)}")
        if largest < 9:
            raise ValueError(f"largest must be at least 9, found {largest}")
        if not operators or set(operators) - set("+-*"):
            raise ValueError(f"operators must be some of '+-*', found {operators!r}")
        self.levels = tuple(levels)
        self.largest = largest
        self.operators = operators

    def problems(self, n: int, split: Split = "train", seed: int = 0) -> Forest:
        """`n` different problems as bare trees, with `meta["answer"]` and `meta["level"]`.

        The same arguments give the same problems. No problem is ever in both splits, whatever the seeds.

        Raises:
            ValueError: this world has not that many different problems in this split.
        """
        rng = np.random.default_rng([seed, split == "held_out"])
        seen: set[str] = set()
        trees = []
        for i in range(n):
            level = self.levels[i % len(self.levels)]
            for _ in range(10_000):
                prompt = self._draw(level, rng)
                if prompt not in seen and split_of(prompt) == split:
                    break
            else:
                raise ValueError(
                    f"found only {i} different {split} problems, expected {n}: ask for fewer or raise levels"
                )
            seen.add(prompt)
            meta = {"answer": str(_totals(read(prompt))[1]), "level": level}
            trees.append(Tree(Node(prompt, "prompt"), f"{split}-{seed}-{i}", meta))
        return Forest(trees)

    def demonstrations(self, n: int, split: Split = "train", seed: int = 0, skip: float = 0.0) -> Forest:
        """`problems(n, split, seed)`, each with its worked solution as one finished leaf of a human author.

        All solutions are right. A share `skip` of them, drawn at random, does the last two operations in the head; who
        learns from these learns to guess.
        """
        rng = np.random.default_rng([seed, 2])
        forest = self.problems(n, split, seed)
        for tree in forest:
            tree.root.add(Node("\n".join(solve(tree.prompt, rng, 2 * int(rng.random() < skip))), "human", stop="eos"))
        return forest

    def _draw(self, level: int, rng: np.random.Generator) -> str:
        """A problem of this level whose results all lie in range, as often as any other such problem."""
        while True:
            signs = rng.choice(list(self.operators), level)
            numbers = rng.integers(1, self.largest + 1, level + 1)
            factors = rng.integers(2, 10, level)
            terms = [str(numbers[0])]
            for sign, number, factor in zip(signs, numbers[1:], factors, strict=True):
                terms += [str(sign), str(factor if sign == "*" else number)]
            prompt = "".join(terms) + "=\n"
            positive, total = _totals(read(prompt))
            if 0 <= total <= positive < 10 * (self.largest + 1):
                return prompt


def _totals(state: State) -> tuple[int, int]:
    """The sum of the positive terms, which is the largest number that can come up, and that of all terms."""
    values = [prod(factors) if sign == "+" else -prod(factors) for sign, factors in state]
    return sum(value for value in values if value > 0), sum(values)


class ArithmeticVerifier(Verifier):
    """1 where a finished response marks the right answer, 0 where it marks another or none.

    A response that the token limit cut is 0 and not missing: nothing failed but the response. One that pauses after a
    step is not judged. How the answer was reached does not matter here; see `ArithmeticStepVerifier`.
    """

    def __init__(self, name: str = "correct") -> None:
        super().__init__(name)

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(node.stop != "length" and final_answer(node.response()) == tree.meta["answer"]))


class ArithmeticStepVerifier(Verifier):
    """1 on every node up to whose end all lines are right (see `check_steps`), 0 on the others."""

    def __init__(self, name: str = "step") -> None:
        super().__init__(name)

    def nodes(self, tree: Tree) -> Iterator[Node]:
        return (node for node in tree.walk() if node is not tree.root)

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(all(check_steps(tree.prompt, node.response()))))
