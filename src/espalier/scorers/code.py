"""Verifiers that run code: unit tests, run time against a reference, and both as the steps of one reward.

A problem's meta says how it is tested: `tests`, Python code each; `names`, the functions that they call; `setup`, code
that the response goes on from, if any. `espalier.trees.read_humaneval` gives such problems. Everything runs in
`espalier.sandbox`, several programs at a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool

from espalier.errors import ConfigError
from espalier.sandbox import Limits, Verdict, parallel, ready, run_tests
from espalier.scorers.leaves import Verifier
from espalier.trees import Node, Score, Tree

_FENCE = re.compile(r"^```[ \t]*(?:python|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE | re.IGNORECASE)


def program(response: str, setup: str = "") -> str:
    r"""The program that a response writes: its last fenced block, after the setup; else the setup, continued.

    >>> program("So:\n```python\ndef f(): return 1\n```\nThat is it."), program("    return 1", "def f():\n")
    ('\ndef f(): return 1\n', 'def f():\n    return 1')
    """
    blocks = _FENCE.findall(response)
    return f"{setup}\n{blocks[-1]}" if blocks else setup + response


def try_tests(code: str, tree: Tree, limits: Limits | None = None) -> Verdict:
    """Run a problem's tests against a program.

    Raises:
        ConfigError: the problem has no tests, no names, or a test that is itself broken.
        SandboxError: there is no sandbox here.
    """
    meta = tree.meta
    if not meta.get("tests") or not meta.get("names"):
        raise ConfigError(f"problem {tree.id!r} has no meta['tests'] or no meta['names'] to test a program with")
    found = run_tests(code, meta["tests"], meta["names"], setup=meta.get("setup", ""), limits=limits)
    for outcome, detail in zip(found.outcomes, found.details, strict=True):
        if outcome == "broken test":
            raise ConfigError(f"a test of problem {tree.id!r} is broken: {detail}")
    return found


def pass_matrix(
    programs: Sequence[str],
    tests: Sequence[str],
    names: Sequence[str],
    *,
    setup: str = "",
    limits: Limits | None = None,
) -> Bool[np.ndarray, "programs tests"]:
    """Which program passes which test. Neither need be right: a test that is itself broken is one that none passes.

    Raises:
        ConfigError: no programs, tests or names.
        SandboxError: there is no sandbox here.
    """
    if not programs:
        raise ConfigError("pass_matrix needs at least one program")
    tested = parallel(lambda code: run_tests(code, tests, names, setup=setup, limits=limits), programs)
    return np.array([[outcome == "passed" for outcome in each.outcomes] for each in tested])


class CodeVerifier(Verifier):
    """What verifiers of code share: the program of a response is tested, several at a time; a subclass rewards it.

    Args:
        limits: of each program.

    Raises:
        SandboxError: there is no sandbox here.
    """

    def __init__(self, name: str, limits: Limits | None = None) -> None:
        super().__init__(name)
        ready()
        self.limits = limits or Limits()

    def judge(self, node: Node, tree: Tree) -> Score:
        code = program(node.response(), tree.meta.get("setup", ""))
        return Score(self.reward(try_tests(code, tree, self.limits), tree))

    def reward(self, tested: Verdict, tree: Tree) -> float:
        """The reward of a program that was tested so."""
        raise NotImplementedError

    def judge_all(self, waiting: Sequence[tuple[Node, Tree]]) -> list[Score]:
        return parallel(lambda pair: self._judge(*pair), waiting)


class UnitTests(CodeVerifier):
    """1 where a program passes all tests, else 0; or the share that it passes.

    Args:
        share: reward the share of the tests that passed.
    """

    def __init__(self, name: str = "correct", *, share: bool = False, limits: Limits | None = None) -> None:
        super().__init__(name, limits)
        self.share = share

    def reward(self, tested: Verdict, tree: Tree) -> float:
        return tested.share if self.share else float(tested.passed)


class RunTime(CodeVerifier):
    """How fast a program is beside the problem's reference program: the ratio of their processor seconds.

    The reference is `meta["answer"]`, run under the same tests. The interpreter's own start is taken off both, and a
    ratio counts to `most`: 2 where the program needs half the time. A program that does not pass has 0.

    Args:
        least: processor seconds that count as none: what takes less is noise, so two such programs are equally fast.
        most: the largest ratio.
    """

    def __init__(
        self, name: str = "speed", *, least: float = 0.01, most: float = 2.0, limits: Limits | None = None
    ) -> None:
        super().__init__(name, limits)
        if not (least > 0 and most > 0):
            raise ConfigError(f"least and most must be positive, found {least} and {most}")
        self.least, self.most = least, most
        self._references: dict[str, float] = {}

    def reward(self, tested: Verdict, tree: Tree) -> float:
        return min(self.most, self.speed(tested, tree)) if tested.passed else 0.0

    def speed(self, tested: Verdict, tree: Tree) -> float:
        """The reference's seconds over those of a program that passed.

        Raises:
            ConfigError: the problem has no reference, or one that fails its tests.
        """
        reference = program(str(tree.meta.get("answer", "")), tree.meta.get("setup", ""))
        if reference not in self._references:
            of_reference = try_tests(reference, tree, self.limits)
            if not of_reference.passed:
                raise ConfigError(f"the reference program of {tree.id!r} does not pass: {of_reference.run.detail}")
            self._references[reference] = self._seconds(of_reference)
        return self._references[reference] / self._seconds(tested)

    def _seconds(self, tested: Verdict) -> float:
        return max(self.least, tested.run.cpu - _start())


class SteppedReward(RunTime):
    """ACECode (Yang et al. 2024, arXiv:2412.17264): does it compile, does it run, does it pass, how fast is it.

    A program that passes has 0.5 + 0.5 * min(seconds of the reference / its own, `most`): from 0.5, and 1 where it is
    as fast. The steps below are what a program has that gets so far and no further, by default CodeRL's (Le et al.
    2022, arXiv:2207.01780).

    Args:
        compile: it does not compile.
        error: it ends with an exception, or is stopped at a limit.
        fail: it runs, and a test does not hold.
    """

    def __init__(
        self,
        name: str = "stepped",
        *,
        compile: float = -1.0,
        error: float = -0.6,
        fail: float = -0.3,
        least: float = 0.01,
        most: float = 1.0,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(name, least=least, most=most, limits=limits)
        self.steps = {"compile": compile, "error": error, "fail": fail}

    def reward(self, tested: Verdict, tree: Tree) -> float:
        if tested.passed:
            return 0.5 + 0.5 * min(self.most, self.speed(tested, tree))
        if tested.run.detail.split(":")[0] in ("SyntaxError", "IndentationError", "TabError"):
            return self.steps["compile"]
        return self.steps["fail" if set(tested.outcomes) <= {"passed", "failed"} else "error"]


@cache
def _start() -> float:
    """The processor seconds of a program that does nothing: the fastest of three."""
    return min(run_tests("def f(): pass", ["f()"], ["f"]).run.cpu for _ in range(3))
