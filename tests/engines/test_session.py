"""Calls whose rows run in one batch: each gets what it gets alone, as soon as its own rows are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from espalier.engines import LocalEngine
from espalier.engines.base import Engine, Sampling
from espalier.engines.store import Plane, Store
from espalier.engines.together import together
from espalier.errors import ConfigError, ContextLengthError, EngineError
from espalier.models import Model
from espalier.trees import Ledger, Node

from .conftest import watch

SHORT, LONG, GREEDY = (
    Sampling(max_tokens=3, seed=1),
    Sampling(max_tokens=20, seed=2),
    Sampling(max_tokens=8, temperature=0),
)


def drawn(nodes: Sequence[Sequence[Node]]) -> list[list[tuple[str, Any]]]:
    return [[(node.text, node.token_ids) for node in of] for of in nodes]


def test_a_call_is_answered_while_a_longer_one_runs_and_both_get_what_they_get_alone(model: Model) -> None:
    engine, calls = LocalEngine(model), [("12+", 3, LONG), ("34=", 2, SHORT), ("46 =", 2, GREEDY), ("12+", 2, SHORT)]
    order = []
    with engine.session() as session:
        asked = [session.begin([Node(text, "prompt")], n, sampling) for text, n, sampling in calls]
        while answered := session.proceed():
            order += [asked.index(each) for each in answered]
    assert sorted(order) == [0, 1, 2, 3]
    assert order.index(1) < order.index(0)
    for (text, n, sampling), each in zip(calls, asked, strict=True):
        alone = LocalEngine(model).extend([Node(text, "prompt")], n, sampling)
        assert drawn(each.answer) == drawn(alone)
    assert engine.spent.calls == 4
    for kind in ("generated", "prefilled"):
        assert getattr(engine.spent, kind) == sum(getattr(each.spent, kind) for each in asked)
    assert engine.spent.prefilled == len("12+") + len("34=") + len("46 =")  # "12+" once for two calls


def test_calls_that_go_on_from_one_step_run_its_last_token_once(model: Model) -> None:
    engine, root, sampling = LocalEngine(model), Node("12+", "prompt"), Sampling(max_tokens=4, seed=3)
    step = root.add(engine.extend([root], 1, sampling)[0][0])
    assert step.stop == "length"
    calls = [(step, 3, SHORT), (step, 2, GREEDY), (root, 2, LONG)]
    before, passes = engine.spent, watch(model)
    with engine.session() as session:
        asked = [session.begin([node], n, sampling) for node, n, sampling in calls]
        while session.proceed():
            pass
    spent = engine.spent - before
    assert spent.prefilled == 1
    assert passes.tokens == spent.prefilled + spent.generated - sum(n for _, n, _ in calls)  # no row's last
    for (node, n, sampling), each in zip(calls, asked, strict=True):
        assert drawn(each.answer) == drawn(LocalEngine(model).extend([node], n, sampling))


def callers(log: list[str]) -> list[Callable[[Engine], str]]:
    """Two that take turns with the engine, and one that it refuses."""

    def steps(prompt: str, sampling: Sampling, count: int) -> Callable[[Engine], str]:
        def run(engine: Engine) -> str:
            node, before = Node(prompt, "prompt"), engine.spent.calls
            for _ in range(count):
                [[step]] = engine.extend([node], 1, sampling)
                log.append(prompt)
                if step.stop == "eos":
                    break
                node = node.add(step)
            assert engine.spent.calls - before <= count  # its own only
            return node.full_text()

        return run

    def too_long(engine: Engine) -> str:
        try:
            engine.extend([Node("1" * 200, "prompt")], 1, SHORT)
        except ContextLengthError:
            return "refused"
        return "taken"

    return [steps("12+", LONG, 2), steps("34=", SHORT, 3), too_long]


def test_callers_go_on_in_turn_and_end_as_they_would_alone(model: Model) -> None:
    log, others = list[str](), list[str]()
    beside = dict(together(LocalEngine(model), callers(log), 3))
    alone = dict(together(LocalEngine(model), callers(others), 1))
    assert beside == alone
    assert beside[2] == "refused"
    assert others == sorted(others)
    assert log != others


def test_an_engine_that_takes_one_call_at_a_time_has_callers_one_after_another(model: Model) -> None:
    class Plain:
        def __init__(self) -> None:
            self.inner = LocalEngine(model)
            self.spent = Ledger()

        def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
            return self.inner.extend(prefixes, n, sampling)

    log = list[str]()
    assert dict(together(Plain(), callers(log), 3)) == dict(together(LocalEngine(model), callers([]), 3))
    assert log == sorted(log)


def test_the_engine_may_be_called_while_calls_wait(qwen: Model) -> None:
    engine, alone = LocalEngine(qwen), LocalEngine(qwen)

    def run(seat: Engine) -> Any:
        node = Node("12+", "prompt")
        [[first]] = seat.extend([node], 1, SHORT)
        beside = engine.extend([Node("34=", "prompt")], 2, LONG)  # as a generative judge does
        [[second]] = seat.extend([node.add(first)], 1, SHORT)
        return drawn([[first, second], *beside])

    both = dict(together(engine, [run, run], 2))
    assert both[0] == both[1] == next(together(alone, [run], 1))[1]


def test_where_a_caller_fails_the_others_end_too_and_the_engine_goes_on(qwen: Model) -> None:
    engine, closed = LocalEngine(qwen), list[str]()

    def fails(seat: Engine) -> None:
        seat.extend([Node("34=", "prompt")], 1, SHORT)
        raise RuntimeError("the scorer died")

    def waits(seat: Engine) -> None:
        try:
            seat.extend([Node("12+", "prompt")], 1, LONG)
        finally:
            closed.append("waits")

    with pytest.raises(RuntimeError, match="the scorer died"):
        dict(together(engine, [waits, fails], 2))
    assert closed == ["waits"]
    again = engine.extend([Node("12+", "prompt")], 1, LONG)
    assert drawn(again) == drawn(LocalEngine(qwen).extend([Node("12+", "prompt")], 1, LONG))


def test_what_the_engine_refuses_a_caller_is_refused_and_nothing_asked_is_answered_with_nothing(qwen: Model) -> None:
    def none(seat: Engine) -> list[list[Node]]:
        with pytest.raises(ConfigError, match="n must be at least 1"):
            seat.extend([Node("12+", "prompt")], 0, SHORT)
        return seat.extend([], 1, SHORT)

    assert dict(together(LocalEngine(qwen), [none, none], 2)) == {0: [], 1: []}


def test_weights_that_change_under_way_are_an_error(qwen: Model) -> None:
    engine = LocalEngine(qwen)

    def trains(seat: Engine) -> None:
        seat.extend([Node("34=", "prompt")], 1, SHORT)
        with torch.no_grad():
            for weight in qwen.parameters():
                weight.add_(0.01)

    def waits(seat: Engine) -> None:
        seat.extend([Node("12+", "prompt")], 1, LONG)

    with pytest.raises(EngineError, match="its weights"):
        dict(together(engine, [waits, trains], 2))
    again = engine.extend([Node("12+", "prompt")], 1, LONG)
    assert drawn(again) == drawn(LocalEngine(qwen).extend([Node("12+", "prompt")], 1, LONG))


def test_a_row_that_goes_on_takes_the_seat_in_which_its_step_lies(qwen: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is copied for it; where another row sat down there meanwhile, what lies there is not its own."""
    copied, read = list[int](), Store.read

    def counting(store: Store, plane: Plane, slots: torch.Tensor) -> torch.Tensor:
        copied.append(slots.numel() if plane == Plane("key", 0) else 0)
        return read(store, plane, slots)

    def go_on(nodes: Sequence[Node], n: int = 1) -> list[Node]:
        """The first of each node's continuations, checked against those that it has alone."""
        copied.clear()
        asked = session.begin(nodes, n, sampling)
        assert session.proceed() == [asked]
        total = sum(copied)
        assert drawn(asked.answer) == [drawn(LocalEngine(qwen).extend([node], n, sampling))[0] for node in nodes]
        copied[:] = [total]
        return [node.add(found[0]) for node, found in zip(nodes, asked.answer, strict=True)]

    monkeypatch.setattr(Store, "read", counting)
    roots, sampling = [Node(text, "prompt") for text in ("12+", "34=", "46 =")], Sampling(max_tokens=4, seed=7)
    with LocalEngine(qwen).session() as session:
        steps = go_on(roots)
        assert all(step.stop == "length" for step in steps)
        assert all(step.stop == "length" for step in go_on(steps))
        assert copied == [0]
        go_on(steps[:1], n=2)  # where the first of them sat its second step lies now
        assert copied == [2 * (len("12+") + 4)]
