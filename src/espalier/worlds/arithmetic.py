r"""A world of multi-step arithmetic: problems without end, worked solutions, and an exact verdict on every step.

A prompt is an expression; a response does one operation a line, in the order of precedence, and marks its answer:

    17+25*3-8=
    25*3=75
    17+75=92
    92-8=84
    #84

Each step ends with a line break, so `stop=("\n",)` pauses a sampler after a step. The level of a problem is its
number of operations.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from espalier.scorers.leaves import Verifier
from espalier.trees import Forest, Node, Score, Tree

Split = Literal["train", "held_out"]
ALPHABET = "0123456789+-*=#\n"
"""Every character of this world's prompts and responses."""

_NUMBER = r"(\d{1,12})"
_STEP = re.compile(rf"{_NUMBER}([-+*]){_NUMBER}={_NUMBER}")
_MARK = re.compile(rf"#{_NUMBER}")
_APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_HELD_OUT = 0.1


def split_of(prompt: str) -> Split:
    """The split that a problem belongs to, whoever draws it and whenever: a tenth of all problems is held out."""
    digest = hashlib.sha256(prompt.encode()).digest()
    return "held_out" if int.from_bytes(digest[:8]) < _HELD_OUT * 2**64 else "train"


def solve(prompt: str) -> list[str]:
    r"""The worked solution: one line a step, the marked answer last.

    >>> solve("17+25*3-8=\n")
    ['25*3=75', '17+75=92', '92-8=84', '#84']
    """
    terms, lines = _terms(prompt), []
    while len(terms) > 1:
        at = terms.index("*") if "*" in terms else 1
        left, sign, right = terms[at - 1 : at + 2]
        result = str(_APPLY[sign](int(left), int(right)))
        lines.append(f"{left}{sign}{right}={result}")
        terms[at - 1 : at + 2] = [result]
    return [*lines, f"#{terms[0]}"]


def check_steps(prompt: str, response: str) -> list[bool]:
    r"""For each line of the response, whether it and all lines before it are right.

    A line is right when it does, without error, an operation that may be done next, in any order that precedence
    allows; the last one is right when it marks the only number left. After a wrong line nothing is right, because what
    is left to do no longer gives the answer to the problem.

    >>> check_steps("2+3*4=\n", "3*4=12\n2+12=15\n#15")
    [True, False, False]
    """
    terms: list[str] | None = _terms(prompt)
    verdicts = []
    for line in response.removesuffix("\n").split("\n") if response else []:
        terms = None if terms is None else _after(terms, line)
        verdicts.append(terms is not None)
    return verdicts


def final_answer(response: str) -> str | None:
    r"""The marked answer, without leading zeros, or None where the last line marks none.

    >>> final_answer("1+1=2\n#2"), final_answer("1+1=2")
    ('2', None)
    """
    found = _MARK.fullmatch(response.removesuffix("\n").split("\n")[-1])
    return str(int(found[1])) if found else None


def _terms(prompt: str) -> list[str]:
    """The numbers and operators of a prompt, in order."""
    terms = re.findall(r"\d+|[-+*]", prompt)
    if "".join(terms) + "=\n" != prompt or not all(term.isdigit() != bool(i % 2) for i, term in enumerate(terms)):
        raise ValueError(f"not a problem of the arithmetic world: {prompt!r}")
    return terms


def _after(terms: list[str], line: str) -> list[str] | None:
    """What is left of the expression after the step that `line` writes, or None where the line is wrong."""
    if mark := _MARK.fullmatch(line):
        return [] if len(terms) == 1 and int(mark[1]) == int(terms[0]) else None
    step = _STEP.fullmatch(line)
    if step is None or int(step[4]) != _APPLY[step[2]](int(step[1]), int(step[3])):
        return None
    for at in range(1, len(terms), 2):
        before, after = terms[at - 2 : at - 1], terms[at + 2 : at + 3]
        operation = terms[at] == step[2] and int(terms[at - 1]) == int(step[1]) and int(terms[at + 1]) == int(step[3])
        # Left to right, so nothing that is subtracted or multiplied may first be joined to its right neighbour.
        free = before in ([], ["+"]) or (before == ["*"] == [terms[at]]) or (before == ["-"] and terms[at] == "*")
        if operation and free and (terms[at] == "*" or after != ["*"]):
            return [*terms[: at - 1], str(int(step[4])), *terms[at + 2 :]]
    return None


class Arithmetic:
    """Draws problems of this world.

    Args:
        levels: the numbers of operations to draw; each gets its equal share, in turn.
        largest: the largest operand. A factor on the right of `*` has one digit, and every result on the way lies in
            [0, 10 * (largest + 1)).
        operators: which of `+-*` to draw, each as often as the others.

    >>> Arithmetic(levels=(1, 2)).problems(2)[1].meta["level"]
    2
    """

    def __init__(self, levels: Sequence[int] = (2, 3, 4), largest: int = 99, operators: str = "+-*") -> None:
        if not levels or min(levels) < 1:
            raise ValueError(f"levels must be numbers of operations, at least 1, found {tuple(levels)}")
        if largest < 9:
            raise ValueError(f"largest must be at least 9, found {largest}")
        if not operators or set(operators) - set(_APPLY):
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
            meta = {"answer": solve(prompt)[-1].removeprefix("#"), "level": level}
            trees.append(Tree(Node(prompt, "prompt"), f"{split}-{seed}-{i}", meta))
        return Forest(trees)

    def demonstrations(self, n: int, split: Split = "train", seed: int = 0) -> Forest:
        """`problems(n, split, seed)`, each with its worked solution as one finished leaf of a human author."""
        forest = self.problems(n, split, seed)
        for tree in forest:
            tree.root.add(Node("\n".join(solve(tree.prompt)), "human", stop="eos"))
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
            results = [int(line.partition("=")[2]) for line in solve(prompt)[:-1]]
            if all(0 <= result < 10 * (self.largest + 1) for result in results):
                return prompt


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
