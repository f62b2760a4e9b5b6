"""Fill packs up to a budget of tokens: first-fit decreasing (Johnson 1973).

It needs at most 11/9 of the fewest packs possible, and with items much smaller than the budget nearly fills each one.
"""

from __future__ import annotations

from collections.abc import Sequence


def fill(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """The items in packs of at most `budget` tokens; an item that is larger has a pack of its own.

    The same sizes always give the same packs; within a pack the items keep their order.

    >>> fill([5, 2, 4, 3, 7], budget=8)
    [[4], [0, 3], [1, 2]]
    """
    packs: list[list[int]] = []
    left: list[int] = []
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        pack = next((number for number, room in enumerate(left) if sizes[item] <= room), len(packs))
        if pack == len(packs):
            packs.append([])
            left.append(budget)
        packs[pack].append(item)
        left[pack] -= sizes[item]
    return [sorted(pack) for pack in packs]
