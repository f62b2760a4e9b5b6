"""Stack programs compile, compute and cost what they should."""

from __future__ import annotations

from itertools import product

import pytest

from espalier.worlds.programs import INSTRUCTIONS, Task, compiles, cost, execute, stack


def test_programs_of_one_task_differ_in_cost() -> None:
    task = Task("xx+")
    programs = ["".join(p) for n in range(1, 6) for p in product(INSTRUCTIONS, repeat=n)]
    right = {program for program in programs if task.passed(program) == 1}
    assert {"xx+", "x11+*", "11+x*"} <= right
    assert min(right, key=cost) == "xx+"
    assert cost("x11+*") == 8
    assert all(execute(program, 100) == 200 for program in right), "the tests tell right from wrong"


def test_what_does_not_compile_passes_nothing() -> None:
    assert not compiles("x1")
    assert Task("x").passed("x1") == 0
    assert Task("xx*").passed("x") == pytest.approx(2 / 5)
    with pytest.raises(ValueError, match="'\\+' does not compile"):
        execute("+", 1)


def test_the_beginning_of_a_program_leaves_what_it_pushed() -> None:
    assert [stack(beginning, 3) for beginning in ("", "x", "x1", "x1+", "x1+x*")] == [[], [3], [3, 1], [4], [12]]
    for broken in ("x+", "x?"):
        with pytest.raises(ValueError, match="cannot run"):
            stack(broken, 3)
