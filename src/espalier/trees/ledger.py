"""What an answer cost: the ledger that engines and scorers keep and strategies hand back."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Ledger:
    """Compute spent, by kind.

    Attributes:
        generated: tokens sampled by the engine.
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
        mine, theirs = asdict(self), asdict(other)
        return Ledger(**{name: mine[name] + theirs[name] for name in mine})

    def __sub__(self, other: Ledger) -> Ledger:
        mine, theirs = asdict(self), asdict(other)
        return Ledger(**{name: mine[name] - theirs[name] for name in mine})
