"""The radix tree against a plain table of all beginnings."""

from __future__ import annotations

from itertools import count

import numpy as np

from espalier.engines.trie import Ids, Trie


class Slots:
    """Numbers that were never given before."""

    def __init__(self) -> None:
        self.next = count()

    def __call__(self, n: int) -> Ids:
        return np.asarray([next(self.next) for _ in range(n)], dtype=np.int64)


def test_a_beginning_has_the_same_slots_in_every_text_that_begins_so() -> None:
    rng, trie, take = np.random.default_rng(0), Trie(), Slots()
    table: dict[tuple[int, ...], int] = {}
    for _ in range(300):
        text = rng.integers(0, 3, rng.integers(1, 9)).tolist()
        known = max((n for n in range(len(text) + 1) if n == 0 or tuple(text[:n]) in table), default=0)
        assert trie.walk(text)[1] == known
        edge = trie.insert(text, take, ready=True)
        path = edge.path().tolist()
        assert edge.end == len(path) == len(text)
        for n in range(1, len(text) + 1):
            assert table.setdefault(tuple(text[:n]), path[n - 1]) == path[n - 1]
    held = np.concatenate([edge.slots for edge in trie.edges()])
    assert sorted(held) == sorted(table.values()) == list(range(len(table)))


def test_what_was_walked_least_recently_leaves_first_and_forks_only_after_their_branches() -> None:
    trie, take = Trie(), Slots()
    for text in ([1, 2, 3], [1, 2, 4, 5], [6, 7]):
        trie.insert(text, take, ready=True)
    trie.walk([1, 2, 3])
    assert trie.evict(1).tolist() == [3, 4]
    assert trie.evict(1).tolist() == [5, 6]
    assert trie.walk([1, 2, 3])[1] == 3
    assert sorted(trie.evict(2)) == [0, 1, 2]
    assert [*trie.edges()] == []


def test_a_pinned_text_stays_with_all_that_is_above_it_also_where_it_ends_within_a_run() -> None:
    trie, take = Trie(), Slots()
    trie.insert([1, 2, 3, 4], take, ready=True)
    pinned = trie.walk([1, 2])[0]
    pinned.pins += 1
    trie.insert([1, 2, 9], take, ready=True)
    assert trie.evict(100).tolist() == [4]
    assert trie.walk([1, 2, 3, 4])[1] == 4
    pinned.pins -= 1
    assert len(trie.evict(100)) == 4
