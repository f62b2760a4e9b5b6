"""The split into shared and own parts, on tries small enough to count by hand and against all possible splits."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from espalier.engines import sharing
from espalier.engines.sharing import anchors
from espalier.engines.trie import Edge, Trie


def build(*texts: list[int]) -> tuple[Trie, list[Edge]]:
    trie = Trie()
    for text in texts:
        trie.insert(text, lambda n: np.zeros(n, dtype=np.int64), ready=True)
    # A text that begins another may have been split off since.
    return trie, [trie.insert(text, lambda n: np.zeros(n, dtype=np.int64), ready=True) for text in texts]


def read(split: dict[Edge, Edge], rows: dict[Edge, int]) -> int:
    """How many tokens a step reads, and what groups cost besides."""
    own = sum(n * (prefix.end - split[prefix].end) for prefix, n in rows.items())
    return own + sum(sharing.GROUP + edge.end for edge in set(split.values()) if edge.end)


@pytest.fixture(autouse=True, params=[0, 2])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "GROUP", request.param)


def test_samples_of_a_prompt_share_it_and_rows_of_different_prompts_do_not() -> None:
    _, (first, second) = build([1, 2, 3], [4, 5])
    assert anchors({first: 8, second: 8}) == {first: first, second: second}


def test_branches_below_a_long_prompt_share_the_prompt_alone() -> None:
    trie, (left, right) = build([*range(50), 60, 61], [*range(50), 70])
    (prompt,) = trie.root.children.values()
    assert anchors({left: 2, right: 2}) == {left: prompt, right: prompt}


def test_single_rows_share_nothing() -> None:
    trie, (first, second) = build([1, 2, 3], [4, 5])
    assert anchors({first: 1, second: 1}) == {first: trie.root, second: trie.root}


def test_what_is_not_worth_a_group_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    trie, (prompt,) = build([*range(50)])
    for rows, found in ((3, trie.root), (4, prompt)):
        monkeypatch.setattr(sharing, "GROUP", 120)  # sharing saves 50 tokens for each row but one
        assert anchors({prompt: rows}) == {prompt: found}


def test_no_other_split_reads_fewer_tokens() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        texts = {tuple(rng.integers(0, 2, rng.integers(1, 6)).tolist()) for _ in range(4)}
        trie, edges = build(*map(list, texts))
        rows = {edge: int(rng.integers(1, 4)) for edge in edges}
        choices = [[*edge.above(), trie.root] for edge in rows]
        best = min(read(dict(zip(rows, choice, strict=True)), rows) for choice in product(*choices))
        found = anchors(rows)
        assert all(found[edge] in [*edge.above(), trie.root] for edge in rows)
        # The shallow choice forbids mixed splits below one edge; those may save at most what is shared above it.
        assert best <= read(found, rows) <= sum(n * edge.end for edge, n in rows.items())
