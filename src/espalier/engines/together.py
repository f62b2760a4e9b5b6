"""Callers of one engine, each written as if it were alone, whose calls run in one batch.

A caller is a coroutine (a greenlet): it runs until it calls the engine, then others run, and it goes on when its call
is answered. One runs at a time, in an order that does not depend on the clock, so nothing needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from greenlet import getcurrent, greenlet

from espalier.engines.base import Engine, Sampling, TokenEngine
from espalier.trees import Ledger, Node

if TYPE_CHECKING:
    from espalier.engines.session import Asked, Session

T = TypeVar("T")


@runtime_checkable
class JointEngine(TokenEngine, Protocol):
    """An engine that takes a call to `extend` while others are under way; calls to `next_tokens` run alone."""

    def session(self) -> AbstractContextManager[Session]:
        """What such calls are made to."""
        ...


class Seat:
    """The engine as one of several callers has it.

    Attributes:
        spent: this caller's tokens and calls. Seconds are shared, and only the engine's own ledger has them.
    """

    def __init__(self, engine: JointEngine, session: Session) -> None:
        self.spent, self._engine, self._session = Ledger(), engine, session

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        """Others run until this is answered."""
        asked, others = self._session.begin(prefixes, n, sampling), getcurrent().parent
        assert others is not None
        if asked.waiting:
            others.switch(asked)
        self.spent += asked.spent
        return asked.answer

    def next_tokens(self, prefixes: Sequence[Node], k: int) -> list[list[Node]]:
        before = self._engine.spent
        told = self._engine.next_tokens(prefixes, k)
        self.spent += self._engine.spent - before
        return told


def together(engine: Engine, callers: Iterable[Callable[[Engine], T]], most: int) -> Iterator[tuple[int, T]]:
    """Run callers of the engine, at most `most` at a time, each with a seat of its own.

    An engine that takes one call at a time has them one after another.

    Yields:
        Each caller's number and what it returned, as they end.
    """
    coming = enumerate(callers)
    if not isinstance(engine, JointEngine):
        for number, caller in coming:
            yield number, caller(engine)
        return
    alive: dict[greenlet, int] = {}
    waiting: dict[Asked, greenlet] = {}
    with engine.session() as session:
        try:
            answered: list[tuple[greenlet, Asked | Seat]] = []
            while True:
                for number, caller in islice(coming, most - len(alive)):
                    alive[one := greenlet(caller)] = number
                    answered.append((one, Seat(engine, session)))
                if not answered:
                    return
                for one, given in answered:
                    got = one.switch(given)
                    if one.dead:
                        yield alive.pop(one), got
                    else:
                        waiting[got] = one
                answered = [(waiting.pop(asked), asked) for asked in session.proceed()]
        finally:
            for one in alive:
                one.throw()
