"""What all searches by steps share: candidates grow from live prefixes, repeats are one node, prefixes roll on.

A step ends at a stop string; without stop strings it is a segment of `max_tokens` tokens. Of all searches by steps only
the choice of who lives on differs: the best (beam), the best of each subtree, or a draw by weight (particles).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from espalier.engines.base import Sampling
from espalier.search.chunk import Chunk
from espalier.trees import Node

Stops = str | tuple[str, ...]


def stepwise(sampling: Sampling, stop: Stops) -> Sampling:
    """The same sampling, a step at a time: up to a stop string, or where `stop` is empty up to `max_tokens`."""
    return replace(sampling, stop=(stop,) if isinstance(stop, str) and stop else tuple(stop))


def is_open(node: Node, sampling: Sampling) -> bool:
    """Whether another step can follow: a prompt, or a step that ended as steps do."""
    return node.parent is None or node.stop == ("stop" if sampling.stop else "length")


def grow(chunk: Chunk, live: Sequence[Sequence[Node]], n: int, sampling: Sampling) -> list[list[list[Node]]]:
    """For each tree and live prefix the `n` steps drawn after it; a prefix may be named more than once.

    A step that says what another step after the same prefix said, now or before, is merged with it: the same node
    stands in the result once for each draw, and its `meta["draws"]` counts them. Every draw is in the ledger. Fewer
    than `n` come back where the budget or the context ended.
    """
    grown = chunk.branches(live, n, sampling)
    return [_merged(tree, found) for tree, found in zip(live, grown, strict=True)]


def distinct(nodes: Iterable[Node]) -> list[Node]:
    """Each node once, in order of appearance."""
    return list(dict.fromkeys(nodes))


def roll(chunk: Chunk, nodes: Sequence[Sequence[Node]], steps: int, sampling: Sampling) -> list[list[Node]]:
    """Where each node ends after at most `steps` more steps, one branch each; itself where it has ended."""
    ends = [list(tree) for tree in nodes]
    for _ in range(steps):
        places = [[at for at, node in enumerate(tree) if is_open(node, sampling)] for tree in ends]
        if not any(places):
            break
        live = [[tree[at] for at in here] for tree, here in zip(ends, places, strict=True)]
        moved = False
        for tree, here, grown in zip(ends, places, grow(chunk, live, 1, sampling), strict=True):
            for at, new in zip(here, grown, strict=True):
                tree[at], moved = (new[0], True) if new else (tree[at], moved)
        if not moved:
            break
    return ends


def _merged(prefixes: Sequence[Node], grown: Sequence[Sequence[Node]]) -> list[list[Node]]:
    """The grown steps of one tree; each repeat is cut off, and the node that it repeats stands in its place."""
    new = {node for nodes in grown for node in nodes}
    kept: dict[Node, dict[tuple[str, str | None], Node]] = {}
    for prefix in distinct(prefixes):
        first = kept[prefix] = {}
        for child in list(prefix.children):
            # A chain (a step in which a tool spoke, say) is never a repeat.
            if child in new or child.author == "policy":
                same = first.setdefault((child.text, child.stop), child)
                if same is not child and child in new:
                    child.detach()
                    same.meta["draws"] = same.meta.get("draws", 1) + 1
    return [
        [kept[prefix].get((node.text, node.stop), node) if node.parent in (prefix, None) else node for node in nodes]
        for prefix, nodes in zip(prefixes, grown, strict=True)
    ]
