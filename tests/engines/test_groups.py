"""Attention to what rows share, while groups come and go: the same as each row by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from espalier.engines.groups import Groups
from espalier.engines.store import HIDDEN, Plane, Store
from espalier.engines.trie import Ids

HEADS, PER_HEAD, WIDTH, SCALE = 2, 3, 4, 0.5
KEYS, VALUES = Plane("key"), Plane("value")


@pytest.fixture
def store() -> Store:
    torch.manual_seed(0)
    store, slots = Store(2**30, torch.device("cpu")), torch.arange(100)
    store.hold(list(range(100)), ready=True)
    for plane in (KEYS, VALUES):
        store.write(plane, slots, torch.randn(100, HEADS, WIDTH))
    store.write(HIDDEN, slots, torch.randn(100, 5))
    return store


def expected(store: Store, query: Tensor, path: Ids) -> tuple[Tensor, Tensor]:
    """Of one row: its scores, and what it gets with weights of 1."""
    keys, values = store.planes[KEYS][path], store.planes[VALUES][path]
    return torch.einsum("hpw,nhw->hpn", query, keys) * SCALE, values.sum(0)[:, None].expand(-1, PER_HEAD, -1)


def check(store: Store, groups: Groups, paths: dict[int, Ids]) -> None:
    """`paths`: what the rows in these seats share."""
    span = max(paths) + 1
    groups.begin(span)
    assert groups.longest == max(len(path) for path in paths.values())
    if not groups.longest:
        return
    query = torch.randn(span, HEADS, PER_HEAD, WIDTH)
    scores = groups.scores(0, query, SCALE)
    mixed = groups.mix(0, (scores > float("-inf")).float())
    for seat, path in paths.items():
        of, total = expected(store, query[seat], path)
        assert torch.isneginf(scores[seat, ..., len(path) :]).all()
        torch.testing.assert_close(scores[seat, ..., : len(path)], of)
        torch.testing.assert_close(mixed[seat], total)


@pytest.mark.parametrize("seed", range(20))
def test_rows_come_and_go(store: Store, seed: int) -> None:
    rng, groups, paths = np.random.default_rng(seed), Groups(store), dict[int, Ids]()
    # Beginnings by the slot of their last token, which is what tells them apart; and none.
    known = [np.arange(end - size, end) for end, size in ((9, 9), (20, 3), (40, 17), (60, 1), (90, 30))]
    known.append(np.arange(0))
    for _ in range(40):
        free = np.setdiff1d(np.arange(12), list(paths))
        match rng.choice(["enter", "leave", "move"]):
            case "enter" if len(free):
                seats = rng.choice(free, rng.integers(1, len(free) + 1), replace=False)
                new = [known[i] for i in rng.integers(len(known), size=len(seats))]
                groups.enter(seats, new)
                paths.update(zip(seats.tolist(), new, strict=True))
            case "leave" if paths:
                gone = rng.choice(list(paths), rng.integers(1, len(paths) + 1), replace=False)
                groups.leave(gone)
                for seat in gone.tolist():
                    del paths[seat]
            case "move" if paths and len(free) and free[0] < max(paths):
                of, to = max(paths), int(free[0])
                groups.move(np.asarray([of]), np.asarray([to]))
                paths[to] = paths.pop(of)
        if paths:
            check(store, groups, paths)
