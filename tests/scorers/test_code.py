"""Verifiers of code reward what a program does in the sandbox."""

from __future__ import annotations

import pytest

from espalier.errors import ConfigError
from espalier.scorers.code import RunTime, SteppedReward, UnitTests, pass_matrix, program
from espalier.trees import Forest, Node, Tree

SLOW = "def f(n):\n    total = 0\n    for i in range(n + 1):\n        total += i\n    return total\n"
FAST = "def f(n):\n    return n * (n + 1) // 2\n"
RESPONSES = (
    SLOW,
    FAST,
    f"Sum them:\n```python\n{FAST}```\n",
    "def f(n):\n    return 6\n",
    "def f(n):\n    return n / 0\n",
    "def f(n)\n",
)


pytestmark = pytest.mark.usefixtures("sandbox")


@pytest.fixture
def forest() -> Forest:
    tests = ["assert f(3) == 6", "assert f(10**6) == 500000500000"]
    tree = Tree(Node("Add up to n.", "prompt"), "sum", {"tests": tests, "names": ["f"], "answer": SLOW})
    for response in RESPONSES:
        tree.root.add(Node(response, stop="eos"))
    return Forest([tree])


def scores(forest: Forest, name: str) -> list[float | None]:
    return [leaf.value(name) for leaf in forest[0].leaves()]


def test_unit_tests_give_pass_or_share(forest: Forest) -> None:
    UnitTests().score(forest)
    assert scores(forest, "correct") == [1, 1, 1, 0, 0, 0]
    UnitTests("share", share=True).score(forest)
    assert scores(forest, "share") == [1, 1, 1, 0.5, 0, 0]


def test_run_time_and_steps(forest: Forest) -> None:
    SteppedReward().score(forest)
    slow, *quick, wrong, error, broken = scores(forest, "stepped")
    assert slow is not None
    assert slow > 0.75
    assert quick == [1.0, 1.0]
    assert (wrong, error, broken) == (-0.3, -0.6, -1.0)
    RunTime(most=3.0).score(forest)
    slow, fast, *_ = scores(forest, "speed")
    assert slow is not None
    assert slow < 2 < 3 == fast
    assert scores(forest, "speed")[3:] == [0, 0, 0]


def test_a_broken_problem_is_missing_and_not_zero() -> None:
    broken = Tree(Node("?", "prompt"), "b", {"tests": ["assert ("], "names": ["f"]})
    bare = Tree(Node("?", "prompt"), "c")
    for tree in (broken, bare):
        tree.root.add(Node(FAST, stop="eos"))
    forest = UnitTests().score(Forest([broken, bare]))
    reasons = [leaf.scores["correct"].missing for leaf in forest.leaves()]
    assert "a test of problem 'b' is broken: SyntaxError" in str(reasons[0])
    assert "problem 'c' has no meta['tests']" in str(reasons[1])


def test_pass_matrix() -> None:
    matrix = pass_matrix([FAST, "def f(n): return 6", "def"], ["assert f(3) == 6", "assert f(4) == 10", "("], ["f"])
    assert matrix.tolist() == [[True, True, False], [True, False, False], [False, False, False]]
    with pytest.raises(ConfigError, match="at least one program"):
        pass_matrix([], ["f()"], ["f"])


def test_a_program_goes_on_from_its_setup() -> None:
    assert program("    return 1", "def f():\n") == "def f():\n    return 1"
    assert program("```\nx = 1\n```\nor\n```py\nx = 2\n```", "import math\n") == "import math\n\nx = 2\n"
