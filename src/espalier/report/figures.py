"""How numbers are written, on the page and in the terminal alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espalier.audit.intervals import Interval


def number(value: float) -> str:
    """Three significant digits, with thousands separated.

    >>> number(1234.5), number(0.01234), number(3.0), number(2.5e-5)
    ('1,234', '0.0123', '3', '2.5e-05')
    """
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """
    >>> percent(0.6234)
    '62.3 %'
    """
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of two shares in percentage points, always with its sign.

    >>> points(0.082), points(-0.01)
    ('+8.2', '-1.0')
    """
    return f"{100 * difference:+.1f}"


def percent_interval(interval: Interval) -> str:
    """As in `62.3 % [57.0, 67.4]`."""
    return f"{percent(interval.estimate)} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def points_interval(interval: Interval) -> str:
    """As in `+8.2 [+3.1, +13.4]`."""
    return f"{points(interval.estimate)} [{points(interval.low)}, {points(interval.high)}]"


def interval(of: Interval) -> str:
    """As in `0.812 [0.79, 0.834]`."""
    return f"{number(of.estimate)} [{number(of.low)}, {number(of.high)}]"


def duration(seconds: float) -> str:
    """
    >>> duration(4.25), duration(75), duration(7260)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
