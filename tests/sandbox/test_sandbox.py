"""What the sandbox reports of honest programs, and how it says that there is none."""

from __future__ import annotations

import pytest

from espalier.errors import ConfigError
from espalier.sandbox import Limits, SandboxError, bubblewrap, run, run_tests
from espalier.sandbox.inside import decode, encode


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -(2**70), 1.5, float("inf"), "ä\n\ud800", b"\x00\xff", 1 + 2j, range(1, 9, 2)),
        *([], [1, [2, (3,)]], (), {1, 2}, frozenset({"a"}), {"a": [1], (1, 2): None, 3: {}}),
    ],
    ids=repr,
)
def test_plain_values_pass_unchanged(value: object) -> None:
    back = decode(encode(value))
    assert back == value
    assert type(back) is type(value)


def test_what_is_not_plain_does_not_pass() -> None:
    with pytest.raises(TypeError, match="object is not plain"):
        encode([object()])


def test_a_run_tells_output_status_and_cost(sandbox: None) -> None:
    done = run("import sys\nprint('out')\nprint('err', file=sys.stderr)\nx = sum(range(10**6))")
    assert (done.outcome, done.stdout, done.stderr) == ("finished", "out\n", "err\n")
    assert 0 < done.cpu < 10
    assert 2**20 < done.memory < 2**28
    assert run("raise SystemExit(3)").detail == "it ended with status 3"
    assert run("raise SystemExit(0)").outcome == "finished"
    assert run("def f(:").detail.startswith("SyntaxError")
    failed = run("def f(): return 1 / 0\nf()")
    assert failed.detail == "ZeroDivisionError: division by zero"
    assert "inside.py" not in failed.stderr, "the traceback is that of the program alone"


def test_tests_are_judged_one_by_one(sandbox: None) -> None:
    code = "def half(x):\n    if x == 8:\n        import os; os._exit(0)\n    return x / 2 if x >= 0 else None + 1"
    tests = ["assert half(4) == 2", "assert half(5) == 2", "half(-1)", "half(8)", "assert half(2) == 1", "assert ("]
    tested = run_tests(code, tests, ["half"])
    assert tested.outcomes == ("passed", "failed", "error", "error", "passed", "broken test")
    assert tested.details[1] == "the assertion half(5) == 2"
    assert tested.details[2].startswith("TypeError")
    assert tested.details[3] == "the program ended before its tests did"
    assert tested.share == pytest.approx(2 / 6)
    assert not tested.passed


def test_a_test_may_expect_an_exception_and_use_helpers(sandbox: None) -> None:
    test = "try: inverse(0)\nexcept ZeroDivisionError: pass\nelse: assert False\nassert twice(inverse(2)) == 1"
    assert run_tests("def inverse(x): return 1 / x", [test], ["inverse"], setup="def twice(x): return 2 * x").passed


def test_an_answer_after_the_program_died_does_not_count(sandbox: None) -> None:
    test = "try:\n    f()\nexcept:\n    pass"
    assert run_tests("import os\ndef f(): os._exit(0)", [test], ["f"]).outcomes == ("error",)


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="cpu must be positive, found 0"):
        Limits(cpu=0)
    with pytest.raises(ConfigError, match="at least one test"):
        run_tests("", [], ["f"])


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    bubblewrap.ready.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match="install bubblewrap"):
        run("print(1)")
    bubblewrap.ready.cache_clear()
