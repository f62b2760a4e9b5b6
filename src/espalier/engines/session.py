"""Calls to the local engine whose rows run in one batch: each is answered as soon as its own rows are done.

A call alone waits for its longest row, with ever fewer rows in the batch. Where other calls are under way, their rows
take the places that are left.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from espalier.engines.base import Sampling
from espalier.engines.decoding import Decoding
from espalier.engines.rows import Request, Sampled
from espalier.errors import ConfigError
from espalier.trees import Ledger, Node

if TYPE_CHECKING:
    from espalier.engines.local import LocalEngine


@dataclass(slots=True, eq=False)
class Asked:
    """A call to `extend`.

    Attributes:
        prefixes, n, sampling: what is asked.
        requests: its rows, `n` for each prefix.
        waiting: for each row that is not done, by its number in the batch, its place in `requests`.
        sampled: what the others came to, by their place.
        answer: `n` nodes for each prefix, once all are done.
        spent: its tokens; the seconds are those of all calls that ran beside it, and only the engine's ledger has them.
    """

    prefixes: Sequence[Node]
    n: int
    sampling: Sampling
    requests: list[Request] = field(default_factory=list)
    waiting: dict[int, int] = field(default_factory=dict)
    sampled: dict[int, Sampled] = field(default_factory=dict)
    answer: list[list[Node]] = field(default_factory=list)
    spent: Ledger = field(default_factory=Ledger)


class Session:
    """What a row draws does not depend on the calls beside its own.

    Made by `LocalEngine.session`.

    Args:
        places: how many rows run at a time. Calls that differ in more than seed and length take turns.
    """

    def __init__(self, engine: LocalEngine, places: int) -> None:
        self.engine, self.places = engine, places
        self._batches: dict[Sampling, tuple[Decoding, dict[int, Asked]]] = {}

    @property
    def unanswered(self) -> int:
        """How many rows of calls run or wait."""
        return sum(decoding.unanswered for decoding, _ in self._batches.values())

    def begin(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> Asked:
        """Let a call's rows wait for places; one without prefixes is answered. Raises as `LocalEngine.extend` does."""
        if n < 1:
            raise ConfigError(f"n must be at least 1, found {n}")
        asked = Asked(prefixes, n, sampling)
        if not prefixes:
            return asked
        started, engine = time.perf_counter(), self.engine
        asked.requests = engine._requests(engine._paths(prefixes), n, sampling)
        alike = replace(sampling, seed=0, max_tokens=1)  # which each row has of its own
        if alike not in self._batches:
            engine._check_weights()
            self._batches[alike] = engine._decoding(alike, self.places), {}
        decoding, whose = self._batches[alike]
        order = side_by_side(asked.requests, prefixes)
        numbers = decoding.add([asked.requests[i] for i in order])
        asked.waiting = dict(zip(numbers, order, strict=True))
        whose.update(dict.fromkeys(numbers, asked))
        engine.spent += Ledger(calls=1, seconds=time.perf_counter() - started)
        return asked

    def proceed(self) -> list[Asked]:
        """Sample until a call is answered; returns those that are. None, where none is waiting."""
        started, answered = time.perf_counter(), list[Asked]()
        if not self.unanswered:
            return answered
        with self.engine._ready():
            while not answered:
                # The fuller batch first: the other one fills meanwhile.
                decoding, whose = max(self._batches.values(), key=lambda batch: batch[0].unanswered)
                for number in decoding.advance():
                    asked = whose.pop(number)
                    asked.sampled[asked.waiting.pop(number)] = decoding.result(number)
                    if not asked.waiting:
                        self._answer(asked, decoding)
                        answered.append(asked)
        self.engine.spent += Ledger(seconds=time.perf_counter() - started)
        return answered

    def _answer(self, asked: Asked, decoding: Decoding) -> None:
        engine, sampled = self.engine, [asked.sampled[i] for i in range(len(asked.requests))]
        flat = engine._nodes(sampled, asked.requests, asked.sampling)
        asked.answer = [flat[i : i + asked.n] for i in range(0, len(flat), asked.n)]
        asked.spent = Ledger(
            generated=sum(len(result.tokens) for result in sampled),
            prefilled=sum(decoding.prefilled.pop(group, 0) for group in {request.group for request in asked.requests}),
            calls=1,
        )
        engine.spent += replace(asked.spent, calls=0)
        for prefix in asked.prefixes:
            prefix.root().meta["tokenizer"] = engine.model.fingerprint


def side_by_side(requests: Sequence[Request], prefixes: Sequence[Node]) -> list[int]:
    """An order in which rows that run together have prefixes of like length and share much of them.

    Trees with long prefixes go first, so that too long a batch fails at once; those of a tree lie side by side.
    """
    n, trees = len(requests) // len(prefixes), dict[int, int]()
    roots = [trees.setdefault(id(prefix.root()), len(trees)) for prefix in prefixes]
    longest = [0] * len(trees)
    for root, request in zip(roots, requests[::n], strict=True):
        longest[root] = max(longest[root], len(request.prefix))

    def key(i: int) -> tuple[int, int, int, int]:
        root, request = roots[i // n], requests[i]
        return -longest[root], root, -len(request.prefix), request.group

    return sorted(range(len(requests)), key=key)
