"""Which tokens are held, and where: a radix tree over token ids (RadixAttention, Zheng et al. 2024, arXiv 2312.07104).

An edge is a run of tokens without a fork; each of its tokens has a slot, a number that says where its state lies. Texts
that begin alike share edges, so a beginning has its slots once, whoever asks for it. Nothing here knows of tensors.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Edge:
    """A run of tokens without a fork.

    Attributes:
        tokens, slots: of the run, equally many.
        end: how many tokens there are from the beginning of the text to the run's end.
        parent, children: its neighbours; children by their first token.
        used: the number of the walk that passed here last.
        pins: how many callers need the text up to here; a pinned edge is not evicted, nor is what is above it.
        ready: whether the states of its tokens were computed.
    """

    __slots__ = ("children", "end", "parent", "pins", "ready", "slots", "tokens", "used")

    def __init__(self, tokens: Ids, slots: Ids, parent: Edge | None, used: int, ready: bool) -> None:
        self.tokens, self.slots, self.parent, self.used, self.ready = tokens, slots, parent, used, ready
        self.end: int = len(tokens) + (parent.end if parent else 0)
        self.pins = 0
        self.children: dict[int, Edge] = {}

    @property
    def begin(self) -> int:
        """How many tokens stand before the run."""
        return self.end - len(self.tokens)

    def above(self) -> Iterator[Edge]:
        """This edge and those above it, upwards, without the root."""
        edge = self
        while edge.parent is not None:
            yield edge
            edge = edge.parent

    def path(self) -> Ids:
        """The slots of all tokens from the beginning of the text to the run's end."""
        return np.concatenate([_EMPTY, *[edge.slots for edge in self.above()][::-1]])


class Trie:
    """The edges. `root` is an edge without tokens that is always there."""

    def __init__(self) -> None:
        self._walks = 0
        self.root = Edge(_EMPTY, _EMPTY, None, 0, ready=True)

    def walk(self, tokens: Sequence[int] | Ids, after: Edge | None = None) -> tuple[Edge, int]:
        """Follow a text as far as it is held: the edge reached, perhaps not to its end, and the number of tokens.

        Args:
            after: the edge at whose end the text begins; the root by default.
        """
        self._walks += 1
        ids, edge, found = np.asarray(tokens, dtype=np.int64), after or self.root, 0
        while found < len(ids) and (below := edge.children.get(int(ids[found]))) is not None:
            edge, run = below, below.tokens
            edge.used = self._walks
            same = _common(run, ids[found : found + len(run)])
            found += same
            if same < len(run):
                break
        return edge, found

    def insert(
        self, tokens: Sequence[int] | Ids, take: Callable[[int], Ids], ready: bool, after: Edge | None = None
    ) -> Edge:
        """Hold a text; returns the edge that ends where it ends.

        Args:
            take: gives slots for as many tokens as were not held.
            ready: whether the states of those tokens are there already, or about to be written.
            after: the edge at whose end the text begins; the root by default.
        """
        edge, found = self.walk(tokens, after)
        end = found + (after.end if after else 0)
        if end < edge.end:
            edge = self._split(edge, end - edge.begin)
        if found < len(tokens):
            rest = np.asarray(tokens[found:], dtype=np.int64)
            above = edge
            edge = above.children[int(rest[0])] = Edge(rest, take(len(rest)), above, self._walks, ready)
        return edge

    def evict(self, count: int) -> Ids:
        """Forget at least `count` tokens, least recently used leaves first; fewer where the rest is pinned.

        Returns:
            the slots that are free now.
        """
        order = [(edge.used, id(edge), edge) for edge in self.edges() if not edge.children and not edge.pins]
        heapq.heapify(order)
        freed = [_EMPTY]
        while order and count > 0:
            edge = heapq.heappop(order)[2]
            above = edge.parent
            assert above is not None
            del above.children[int(edge.tokens[0])]
            freed.append(edge.slots)
            count -= len(edge.slots)
            if above.parent is not None and not above.children and not above.pins:
                heapq.heappush(order, (above.used, id(above), above))
        return np.concatenate(freed)

    def edges(self) -> Iterator[Edge]:
        """Every edge but the root."""
        waiting = [*self.root.children.values()]
        while waiting:
            edge = waiting.pop()
            yield edge
            waiting.extend(edge.children.values())

    def _split(self, edge: Edge, at: int) -> Edge:
        """Make a fork possible after the first `at` tokens of a run; returns their edge, `edge` stays the lower one."""
        assert edge.parent is not None
        upper = Edge(edge.tokens[:at], edge.slots[:at], edge.parent, edge.used, edge.ready)
        upper.parent.children[int(upper.tokens[0])] = upper  # type: ignore[union-attr]
        edge.tokens, edge.slots, edge.parent = edge.tokens[at:], edge.slots[at:], upper
        upper.children[int(edge.tokens[0])] = edge
        return upper


_EMPTY: Ids = np.zeros(0, dtype=np.int64)


def _common(a: Ids, b: Ids) -> int:
    """How many leading tokens are equal."""
    size = min(len(a), len(b))
    differ = a[:size] != b[:size]
    first = int(differ.argmax()) if size else 0
    return first if size and differ[first] else size
