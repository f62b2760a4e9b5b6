"""How much a search may spend: limits for each tree, for the whole search, or both."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from espalier.engines.base import Engine
from espalier.errors import ConfigError
from espalier.scorers.base import Scorer
from espalier.trees import Ledger, Prices


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that may be spent of each kind; None is no limit. The kinds are those of `Ledger`, and money.

    `generated` is never exceeded. What nobody can know before a call (the tokens that it prefills or scores, its
    seconds) is looked at between calls, so that the last call may go over those limits.

    Raises:
        ConfigError: a limit below 0.
    """

    generated: int | None = None
    prefilled: int | None = None
    scored: int | None = None
    calls: int | None = None
    seconds: float | None = None
    money: float | None = None

    def __post_init__(self) -> None:
        for kind, most in asdict(self).items():
            if most is not None and not most >= 0:
                raise ConfigError(f"a limit must not be negative, found {kind} = {most}")

    def left(self, spent: Ledger, prices: Prices) -> dict[str, float]:
        """What is left of each kind that has a limit, at least 0."""
        found: dict[str, float] = {}
        for kind in (each.name for each in fields(self)):  # at every step of every tree, so without `asdict`'s copies
            if (most := getattr(self, kind)) is not None:
                used = spent.money(prices) if kind == "money" else getattr(spent, kind)
                found[kind] = max(0.0, most - used)
        return found

    def tokens(self, spent: Ledger, prices: Prices) -> float:
        """How many tokens may still be generated; 0 where any limit is reached, infinite where nothing limits them.

        >>> Limits(generated=100, money=1.0).tokens(Ledger(generated=20), Prices(generated=20_000.0))
        30.0
        """
        left = self.left(spent, prices)
        if not all(left.values()):
            return 0
        money = left.get("money", math.inf) / prices.generated * 1e6 if prices.generated else math.inf
        return min(left.get("generated", math.inf), math.floor(money) if money < math.inf else money)

    def may_score(self, spent: Ledger, prices: Prices) -> bool:
        """Whether a scorer may still be called: what was generated is scored, if nothing but `generated` is used up."""
        return all(rest for kind, rest in self.left(spent, prices).items() if kind != "generated")

    def share(self, spent: Ledger, prices: Prices, part: float) -> Limits:
        """The limits that leave a part of what is left."""
        rest: dict[str, Any] = {kind: part * most for kind, most in self.left(spent, prices).items()}
        whole = {kind: math.floor(most) for kind, most in rest.items() if kind not in ("seconds", "money")}
        return Limits(**{**rest, **whole})


@dataclass(frozen=True, slots=True)
class Budget:
    """What a search may spend. A strategy that reaches its end stops and answers from what stands.

    A limit on the whole search is shared out evenly over the trees that are still to be searched; what some leave, the
    next ones get. What each tree spent in prefilled and scored tokens is an estimate (`espalier.search.chunk`).

        Budget(tree=Limits(generated=512))                                      each problem
        Budget(total=Limits(seconds=60, money=0.5), prices=Prices(generated=8.0))   all of them

    Attributes:
        tree: for each tree: tokens and money.
        total: for the whole search.
        prices: what tokens cost; without, nothing costs money.

    Raises:
        ConfigError: calls or seconds of one tree (all trees of a chunk share them), or money without prices.
    """

    tree: Limits = field(default_factory=Limits)
    total: Limits = field(default_factory=Limits)
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        if self.tree.calls is not None or self.tree.seconds is not None:
            raise ConfigError("trees grow together and share calls and seconds: limit those with Budget(total=...)")
        if self.prices == Prices() and not (self.tree.money is None and self.total.money is None):
            raise ConfigError("a limit on money needs prices: Budget(..., prices=Prices(generated=..., ...))")


class Meter:
    """What engines and a scorer have spent since the meter was made, and how long that is ago."""

    def __init__(self, engine: Engine, scorer: Scorer | None, others: Sequence[Engine] = ()) -> None:
        spenders: list[Engine | Scorer] = [engine, *([] if scorer is None else [scorer]), *others]
        self._spenders = list({id(spender): spender for spender in spenders}.values())
        self._start, self._began = self.ledger(), time.perf_counter()

    def ledger(self) -> Ledger:
        return sum((spender.spent for spender in self._spenders), Ledger())

    def __call__(self) -> Ledger:
        """With the wall-clock time for seconds, a strategy's own included."""
        return replace(self.ledger() - self._start, seconds=time.perf_counter() - self._began)

    def bill(self) -> Ledger:
        """With the seconds that engines and scorer say they took."""
        return self.ledger() - self._start
