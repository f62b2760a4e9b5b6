"""Verifiers for problems with a reference answer: exact, numeric, mathematical; and one for the form alone.

They compare a response with `tree.meta["answer"]`: a bare answer, or a whole worked solution that marks its own.
Without a reference there is nothing to compare with, and the score is missing.
"""

from __future__ import annotations

import re
from fractions import Fraction

from espalier.errors import ConfigError
from espalier.scorers.answers import final_number, marked_answer
from espalier.scorers.leaves import Verifier
from espalier.trees import Node, Score, Tree


class NoReferenceError(ValueError):
    """A tree has no reference answer of the kind that a verifier needs."""


def reference(tree: Tree) -> str:
    """The text of the tree's reference answer.

    Raises:
        NoReferenceError: it has none.
    """
    answer = tree.meta.get("answer")
    if answer is None or not str(answer).strip():
        raise NoReferenceError("the problem has no meta['answer'] to compare with")
    return str(answer)


class ExactMatch(Verifier):
    """1 where the answer is the reference, character for character.

    An answer is what the text marks as such (see `marked_answer`), or the whole text; white space around it is dropped.
    """

    def __init__(self, name: str = "correct") -> None:
        super().__init__(name)

    def judge(self, node: Node, tree: Tree) -> Score:
        expected = reference(tree)
        return Score(float(_answer(node.response()) == _answer(expected)))


class NumericMatch(Verifier):
    """1 where the response's final number (see `final_number`) is the reference's.

    Numbers are equal within `tolerance`, relative to the reference where that is larger than 1: room for the noise of
    floating-point arithmetic in a response, and no more. A response without a number is wrong; one that the token
    limit cut is judged by a marked answer only, since its last number is where it happened to stop.
    """

    def __init__(self, name: str = "correct", tolerance: float = 1e-6) -> None:
        super().__init__(name)
        self.tolerance = tolerance

    def judge(self, node: Node, tree: Tree) -> Score:
        expected = final_number(reference(tree))
        if expected is None:
            raise NoReferenceError(f"the reference answer has no number: {reference(tree)!r}")
        found = final_number(node.response(), marked_only=node.stop == "length")
        room = Fraction(self.tolerance) * max(Fraction(1), abs(expected))
        return Score(float(found is not None and abs(found - expected) <= room))


class MathMatch(Verifier):
    r"""1 where math-verify finds the answer mathematically equal to the reference: \frac{1}{2} and 0.5, x+1 and 1+x.

    What cannot be parsed in the response is wrong; what cannot be parsed in the reference is missing, and so is a
    comparison that takes longer than `seconds` (measured by an alarm signal: call it from the main thread).
    """

    def __init__(self, name: str = "correct", seconds: int = 5) -> None:
        super().__init__(name)
        self.seconds = seconds

    def judge(self, node: Node, tree: Tree) -> Score:
        from math_verify import parse, verify

        limit = {"parsing_timeout": self.seconds, "raise_on_error": True}
        expected = parse(_as_math(reference(tree)), **limit)
        if not expected:
            raise NoReferenceError(f"math-verify cannot parse the reference answer: {reference(tree)!r}")
        if node.stop == "length" and marked_answer(node.response()) is None:
            return Score(0.0)
        found = parse(_as_math(node.response()), **limit)
        return Score(float(verify(expected, found, timeout_seconds=self.seconds, raise_on_error=True)))


class FormatMatch(Verifier):
    r"""1 where the whole response has the form of a regular expression ("." matches line breaks too).

    >>> from espalier.trees import Forest
    >>> tree = Tree(Node("1+1=", "prompt"))
    >>> leaf = tree.root.add(Node("<think>two</think>2", stop="eos"))
    >>> FormatMatch(r"<think>.*</think>\d+").score(Forest([tree]))
    Forest(1 trees)
    >>> leaf.value("format")
    1.0

    Raises:
        ConfigError: the pattern is not a regular expression.
    """

    def __init__(self, pattern: str, name: str = "format") -> None:
        super().__init__(name)
        try:
            self.pattern = re.compile(pattern, re.DOTALL)
        except re.error as error:
            raise ConfigError(f"{pattern!r} is not a regular expression: {error}") from None

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(self.pattern.fullmatch(node.response()) is not None))


def _answer(text: str) -> str:
    marked = marked_answer(text)
    return text.strip() if marked is None else marked


def _as_math(text: str) -> str:
    """The text with its marked answer, if any, in the form that math-verify looks for first."""
    marked = marked_answer(text)
    return text if marked is None else rf"\boxed{{{marked}}}"
