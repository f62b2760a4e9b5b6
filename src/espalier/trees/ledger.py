"""What an answer cost: the ledger that engines and scorers keep and strategies hand back, and what it is in money."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Prices:
    """Money for a million tokens of each kind, in a currency of your own.

    Attributes:
        generated: for a million tokens sampled.
        prefilled: for a million prompt or prefix tokens.
        scored: for a million tokens that scorers ran.
    """

    generated: float = 0.0
    prefilled: float = 0.0
    scored: float = 0.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Compute spent, by kind.

    Attributes:
        generated: tokens sampled by the engine, for responses and for critiques alike.
        prefilled: prompt or prefix tokens that the engine ran through the model.
        scored: tokens that scorers ran through a model.
        calls: calls to an engine or scorer.
        seconds: wall-clock time.
    """

    generated: int = 0
    prefilled: int = 0
    scored: int = 0
    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.generated + other.generated,
            self.prefilled + other.prefilled,
            self.scored + other.scored,
            self.calls + other.calls,
            self.seconds + other.seconds,
        )

    def __sub__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.generated - other.generated,
            self.prefilled - other.prefilled,
            self.scored - other.scored,
            self.calls - other.calls,
            self.seconds - other.seconds,
        )

    def money(self, prices: Prices) -> float:
        """What the tokens cost.

        >>> Ledger(generated=2_000_000, prefilled=500_000).money(Prices(generated=8.0, prefilled=2.0))
        17.0
        """
        each = asdict(prices)
        return sum(each[kind] * getattr(self, kind) for kind in each) / 1e6
