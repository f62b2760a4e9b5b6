"""What methods ask of a tree: pairs, groups, chains and steps. A view points at nodes and copies nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from espalier.trees.node import Node, Score, Tree
from espalier.trees.streams import put_stream, read_stream


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two responses to one prompt, the first better.

    Attributes:
        root: the prompt.
        chosen: the leaf of the better response.
        rejected: the leaf of the worse response.
        margin: how much higher the chosen leaf scored.
    """

    root: Node
    chosen: Node
    rejected: Node
    margin: float


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The responses to one prompt that have a score.

    Attributes:
        root: the prompt.
        leaves: the ends of the responses that have one.
        scores: their values, in the same order.
        missing: how many more responses there are, whose score is missing or was never given.
    """

    root: Node
    leaves: list[Node]
    scores: list[float]
    missing: int


def pairs(tree: Tree, by: str = "preference", margin: float = 0.0) -> list[Pair]:
    """Every two leaves whose scores `by` differ by more than `margin`. A leaf without a score is in no pair.

    >>> tree = Tree(Node("1+1=", "prompt"))
    >>> for text, reward in (("2", 1.0), ("3", 0.0), ("two", 1.0)):
    ...     _ = tree.root.add(Node(text, scores={"reward": Score(reward)}))
    >>> [(pair.chosen.text, pair.rejected.text) for pair in pairs(tree, by="reward")]
    [('2', '3'), ('two', '3')]
    """
    scored = [(leaf, value) for leaf in tree.leaves() if (value := leaf.value(by)) is not None]
    found: list[Pair] = []
    for (first, high), (second, low) in combinations(scored, 2):
        chosen, rejected = (first, second) if high > low else (second, first)
        if abs(high - low) > margin:
            found.append(Pair(tree.root, chosen, rejected, abs(high - low)))
    return found


def groups(forest: Iterable[Tree], by: str = "reward") -> Iterator[Group]:
    """Each tree's leaves with their scores `by`, one group a tree and in order; a group may be empty."""
    for tree in forest:
        leaves = tree.leaves()
        scored = [(leaf, value) for leaf in leaves if (value := leaf.value(by)) is not None]
        yield Group(tree.root, [leaf for leaf, _ in scored], [value for _, value in scored], len(leaves) - len(scored))


def chains(tree: Tree) -> list[list[Node]]:
    """Every path from the root to a leaf, both included."""
    return [leaf.path() for leaf in tree.leaves()]


def steps(tree: Tree, by: str = "label") -> list[list[tuple[Node, Score]]]:
    """For each chain, its steps that have a score `by`, which may be missing; the prompt is not a step.

    A step that several chains share is in each of them.
    """
    return [[(node, node.scores[by]) for node in chain[1:] if by in node.scores] for chain in chains(tree)]


def first_error(chain: Iterable[Node], by: str = "label", at: float = 0.5) -> Node | None:
    """The first step of a chain whose score is `at` or below; None where there is none.

    Steps without a score, or with a missing one, are passed over: nobody said that they are wrong.

    >>> steps = [Node(text, scores={"label": Score(label)}) for text, label in (("a", 1.0), ("b", 0.0), ("c", 0.0))]
    >>> first_error(steps).text
    'b'
    """
    return next((node for node in chain if (value := node.value(by)) is not None and value <= at), None)


def split_steps(tree: Tree, separator: str = "\n", decode: Callable[[list[int]], str] | None = None) -> Tree:
    """A copy of the tree in which each response segment of several steps is a chain of one node a step.

    A step ends behind a separator (or a run of them, so that blank lines are no steps), which stays part of it, as a
    stop string does; the texts of a chain add up to the segment's text. Segments by the policy or a human are split.
    The last step takes over the segment's stop, scores and meta, as they tell of its end.

    Where a segment has token ids, a step ends with the token that completes the separator, whatever else that token
    holds, and log-probabilities and streams go with their tokens.

    Args:
        tree: left as it is.
        separator: what ends a step.
        decode: token ids to text, needed where segments have token ids: `tokenizer.decode`. A special token that was
            sampled stands in the text, so none may be skipped; the one that ends a response is not asked for.

    Raises:
        ValueError: an empty separator, or token ids without a `decode` that gives back their text.
    """
    if not separator:
        raise ValueError("steps need a separator that is not empty")
    split = tree.copy()
    for node in list(split.walk()):
        if node.parent is not None and node.author in ("policy", "human"):
            _split(node, separator, decode)
    return split


def _split(node: Node, separator: str, decode: Callable[[list[int]], str] | None) -> None:
    """Put the earlier steps of a segment between its parent and it; the node itself becomes the last step."""
    cuts = [(end, 0) for end in _step_ends(node.text, separator)]
    if cuts and node.token_ids is not None:
        if decode is None:
            raise ValueError("split_steps needs decode= for segments with token ids, to cut them at the same places")
        cuts = _token_cuts(node.text, node.token_ids, [end for end, _ in cuts], decode)
    streams = {name: values for name in node.streams if (values := read_stream(node, name)) is not None}
    characters = tokens = 0
    for end, token_end in cuts:
        step = Node(node.text[: end - characters], node.author)
        node.text = node.text[end - characters :]
        if node.token_ids is not None:
            count = token_end - tokens
            step.token_ids, node.token_ids = node.token_ids[:count], node.token_ids[count:]
            if node.logprobs is not None:
                step.logprobs, node.logprobs = node.logprobs[:count], node.logprobs[count:]
        _insert_above(node, step)
        for name, values in streams.items():
            put_stream(step, name, values[tokens:token_end])
        characters, tokens = end, token_end
    node.streams = {}
    for name, values in streams.items():
        put_stream(node, name, values[tokens:])


def _insert_above(node: Node, step: Node) -> None:
    parent = node.parent
    assert parent is not None
    parent.children[parent.children.index(node)] = step
    step.parent, node.parent = parent, None
    step.add(node)


def _step_ends(text: str, separator: str) -> list[int]:
    """Where steps end inside a text, in characters; the end of the text is not among them."""
    ends: list[int] = []
    start = at = 0
    while (found := text.find(separator, at)) >= 0:
        at = found + len(separator)
        blank = not text[start:at].replace(separator, "")
        if not blank and at < len(text) and not text.startswith(separator, at):
            ends.append(at)
            start = at
    return ends


def _token_cuts(
    text: str, ids: list[int], ends: list[int], decode: Callable[[list[int]], str]
) -> list[tuple[int, int]]:
    """The ends in characters and tokens, moved back to where the token that reaches them ends."""
    if not decode(ids).startswith(text):
        raise ValueError(f"decode gives {decode(ids)[:60]!r} for the token ids of {text[:60]!r}")
    cuts: list[tuple[int, int]] = []
    tokens = 0
    for end in ends:
        tokens = bisect_left(range(len(ids)), end, lo=tokens, key=lambda count: len(decode(ids[:count])))
        while tokens < len(ids) and not text.startswith(decode(ids[:tokens])):
            tokens += 1  # this token ends inside a character
        characters = len(decode(ids[:tokens]))
        if characters >= len(text):
            break
        if not cuts or tokens > cuts[-1][1]:
            cuts.append((characters, tokens))
    return cuts
