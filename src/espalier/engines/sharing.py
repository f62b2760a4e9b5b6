"""How much of its prefix a row shares with others in the batch: a group reads what it shares once a step.

Rows that fork below a long common text would, as one group for each prefix, each read a copy of that text. Where they
share the common text and keep what differs to themselves, it is read once. The split that costs least in all is found
from the leaves of the trie upwards: either all rows below an edge share up to its end, or its children are grouped each
for itself. What little text is shared is not worth a group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from espalier.engines.trie import Edge

GROUP = 1000
"""What a group costs by itself at every step, in tokens read: its products, and the places of rows that have left."""


def anchors(rows: Mapping[Edge, int]) -> dict[Edge, Edge]:
    """For each prefix (the edge where it ends, with its number of rows) the edge up to which its rows share.

    The root means that they share nothing. Of equal splits the shallower: larger groups make larger products.
    """
    count, length, below = defaultdict[Edge, int](int), defaultdict[Edge, int](int), defaultdict[Edge, int](int)
    for prefix, n in rows.items():
        edge: Edge | None = prefix
        while edge is not None:
            count[edge] += n
            length[edge] += n * prefix.end
            edge = edge.parent
    together: dict[Edge, bool] = {}
    for edge in sorted(count, key=lambda edge: -edge.end):
        group = GROUP + edge.end if edge.end else 0
        shared = group + length[edge] - count[edge] * edge.end
        apart = below[edge] + (group if edge in rows else 0)
        together[edge] = shared <= apart
        if edge.parent is not None:
            below[edge.parent] += min(shared, apart)
    found: dict[Edge, Edge] = {}
    for edge in sorted(count, key=lambda edge: edge.end):
        if edge.parent is not None and edge.parent in found:
            found[edge] = found[edge.parent]
        elif together[edge]:
            found[edge] = edge
    return {prefix: found.get(prefix, prefix) for prefix in rows}
