"""Colours for values: orange is low, blue is high, and colour-blind readers can tell the two apart.

The scale diverges from a middle that means something: 0.5 for probabilities, 0 for rewards.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

STOPS: tuple[tuple[int, int, int], ...] = (
    (188, 82, 20),
    (233, 170, 118),
    (236, 232, 224),
    (140, 178, 217),
    (32, 98, 168),
)


@dataclass(frozen=True, slots=True)
class Scale:
    """A range of values, and the colour of each value in it.

    >>> Scale.of([0.2, 0.9]), Scale.of([-1.5, 3.0])
    (Scale(low=0.0, high=1.0), Scale(low=-3.0, high=3.0))
    >>> Scale(0, 1).colour(1.0), Scale(0, 1).ink(1.0)
    ('#2062a8', '#ffffff')
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Scale:
        """From 0 to 1 where all values lie there (probabilities), else symmetric about 0 (rewards)."""
        values = [value for value in values if abs(value) != float("inf")]
        if all(0 <= value <= 1 for value in values):
            return cls(0.0, 1.0)
        most = float(max(abs(value) for value in values))
        return cls(-most, most)

    def _rgb(self, value: float) -> tuple[int, int, int]:
        place = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) * (len(STOPS) - 1)
        index = min(int(place), len(STOPS) - 2)
        part = place - index
        red, green, blue = (round(a + part * (b - a)) for a, b in zip(STOPS[index], STOPS[index + 1], strict=True))
        return red, green, blue

    def colour(self, value: float) -> str:
        """The value's colour as `#rrggbb`; a value outside the range gets the nearer end's."""
        return "#{:02x}{:02x}{:02x}".format(*self._rgb(value))

    def ink(self, value: float) -> str:
        """Black or white, whichever reads better on the value's colour."""
        red, green, blue = self._rgb(value)
        return "#1b1b1b" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
