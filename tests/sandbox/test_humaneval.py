"""HumanEval: every canonical solution passes, and every one of them with its return value changed does not.

Here a sample of the problems; `everything` judges all of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.errors import DataError
from espalier.sandbox import Verdict, parallel
from espalier.scorers.code import try_tests
from espalier.trees import Tree
from espalier.trees.code import read_humaneval
from tests.conftest import real_data

CHANGED = '''

def _changed(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, (list, tuple)):
        return value + type(value)([0]) if not value else type(value)([*value[:-1], _changed(value[-1])])
    if isinstance(value, dict):
        return {**value, "another": 1}
    return 0


def _wrapped(function):
    return lambda *args, **kwargs: _changed(function(*args, **kwargs))


NAME = _wrapped(NAME)
'''


@pytest.fixture(scope="module")
def problems() -> list[Tree]:
    return list(read_humaneval(real_data("humaneval") / "problems_even.jsonl"))


def canonical(tree: Tree) -> Verdict:
    return try_tests(tree.prompt + tree.meta["answer"], tree)


def changed(tree: Tree) -> Verdict:
    return try_tests(tree.prompt + tree.meta["answer"] + CHANGED.replace("NAME", tree.meta["names"][0]), tree)


def everything(path: Path) -> None:
    """Print which problems of a file are judged wrongly."""
    trees = list(read_humaneval(path))
    right, wrong = parallel(canonical, trees), parallel(changed, trees)
    print(
        len(trees),
        "problems;",
        sum(t.passed for t in right),
        "canonical pass;",
        sum(t.passed for t in wrong),
        "changed",
    )
    for tree, good, bad in zip(trees, right, wrong, strict=True):
        if not good.passed or bad.passed or bad.run.outcome != "failed":
            print(tree.id, good.run.outcome, good.run.detail, "| changed:", bad.run.outcome, bad.run.detail)


def test_canonical_solutions_pass_and_changed_ones_do_not(sandbox: None, problems: list[Tree]) -> None:
    sample = problems[::9]
    good, bad = parallel(canonical, sample), parallel(changed, sample)
    assert {tree.id: tested.run.detail for tree, tested in zip(sample, good, strict=True) if not tested.passed} == {}
    assert [tree.id for tree, tested in zip(sample, bad, strict=True) if tested.passed] == []


def test_the_reader_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"task_id": "a", "prompt": "p", "entry_point": "f", "canonical_solution": 3, "test": "t"}\n')
    with pytest.raises(DataError, match=r"line 1, field 'canonical_solution': found 3, expected a string"):
        read_humaneval(path)
