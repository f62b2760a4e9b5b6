"""The record that everything is learned from: a prompt, and alternative ways to go on.

A `Tree` is one problem. Its root `Node` is the prompt; every other node is a segment that one author wrote, and the
children of a node are alternatives. Scores sit on nodes, and a score that could not be had is *missing*, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from espalier.trees.streams import Stream

Author = Literal["prompt", "policy", "tool", "critic", "human"]
Stop = Literal["eos", "stop", "length"]
AUTHORS: tuple[str, ...] = get_args(Author)
STOPS: tuple[str, ...] = get_args(Stop)


@dataclass(frozen=True, slots=True)
class Score:
    """A value with an optional spread (one standard deviation), or missing with a reason.

    >>> Score(0.7, spread=0.1).value
    0.7
    >>> Score.absent("verifier timed out").is_missing
    True
    """

    value: float | None
    spread: float | None = None
    missing: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.missing is None):
            raise ValueError(f"a score has a value or a reason why it is missing, not both or neither: {self!r}")
        if self.value is not None and self.value != self.value:
            raise ValueError("a score's value is NaN; use Score.absent(reason)")

    @classmethod
    def absent(cls, reason: str) -> Score:
        """A score that could not be had, and why."""
        return cls(None, None, reason)

    @property
    def is_missing(self) -> bool:
        return self.value is None


@dataclass(eq=False, slots=True)
class Node:
    """A segment of text that one author wrote.

    Attributes:
        text: what the author wrote. Where `token_ids` is set, the text is their decoding without the end-of-text token.
        author: who wrote it.
        token_ids: the tokens as sampled (with the end-of-text token where `stop == "eos"`), or None for plain text.
        logprobs: nats, one for each token id, under the sampling distribution before top-p/top-k cut it.
        stop: why the author ended here. "eos": the response is complete; "stop": paused at a stop string (which is
            part of the text); "length": cut by the token limit; None for prompts and for the inside of a response.
        scores: named scores of the state *after* this segment.
        meta: anything else worth keeping; JSON values only. A root's `meta["tokenizer"]` is the fingerprint of the
            tokenizer that made the tree's token ids, so that those of another model are never used by mistake.
        streams: named numbers, one for each token id, such as a reference policy's log-probs; read and written with
            `read_stream` and `put_stream` of `espalier.trees`.
    """

    text: str
    author: Author = "policy"
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None
    stop: Stop | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict, repr=False)
    children: list[Node] = field(default_factory=list, repr=False)
    parent: Node | None = field(default=None, repr=False)

    def add(self, child: Node) -> Node:
        """Attach `child` as one more alternative and return it."""
        if child.parent is not None:
            raise ValueError("this node already hangs on a tree")
        child.parent = self
        self.children.append(child)
        return child

    def detach(self) -> Node:
        """Cut this node (and all below it) off its parent and return it."""
        if self.parent is not None:
            self.parent.children.remove(self)
            self.parent = None
        return self

    @property
    def is_leaf(self) -> bool:
        return not self.children

    @property
    def ends_response(self) -> bool:
        """Whether a response ends here: somebody wrote on below a prompt, and nobody goes on from it.

        What a critic says at the end of a branch is no response, nor is the question to the critic: where they hang
        below a response, it ends before them.
        """
        return self.parent is not None and not _is_aside(self) and all(map(_is_aside, self.children))

    @property
    def depth(self) -> int:
        """How many segments stand before this one; 0 for the root."""
        return sum(1 for _ in self.path()) - 1

    def path(self) -> list[Node]:
        """The segments from the root to this node, both included."""
        nodes: list[Node] = []
        node: Node | None = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]

    def root(self) -> Node:
        node = self
        while node.parent is not None:
            node = node.parent
        return node

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents before children, in order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def leaves(self) -> Iterator[Node]:
        return (node for node in self.walk() if node.is_leaf)

    def full_text(self) -> str:
        """The text from the root to the end of this node."""
        return "".join(node.text for node in self.path())

    def response(self) -> str:
        """The text after the prompt, up to the end of this node."""
        return "".join(node.text for node in self.path()[1:])

    def value(self, name: str) -> float | None:
        """The value of the named score, or None where it is missing or was never given."""
        score = self.scores.get(name)
        return None if score is None else score.value


@dataclass(eq=False, slots=True)
class Tree:
    """One problem: a prompt and the ways to go on that were tried.

    Attributes:
        root: the prompt.
        id: unique in its forest.
        meta: what belongs to the problem, JSON values only; `meta["answer"]` is the reference answer, where known.
    """

    root: Node
    id: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        return self.root.text

    def walk(self) -> Iterator[Node]:
        """Every node, parents before children, in order."""
        return self.root.walk()

    def leaves(self) -> list[Node]:
        """The ends of all responses (see `Node.ends_response`), in order; empty for a bare prompt."""
        return [node for node in self.root.walk() if node.ends_response]

    def copy(self, keep: Callable[[Node], bool] = lambda node: True) -> Tree:
        """A copy without the branches whose node fails `keep`. Scores, streams, token ids and meta are copied."""

        def clone(node: Node) -> Node:
            return Node(
                node.text,
                node.author,
                None if node.token_ids is None else list(node.token_ids),
                None if node.logprobs is None else list(node.logprobs),
                node.stop,
                dict(node.scores),
                dict(node.meta),
                dict(node.streams),
            )

        root = clone(self.root)
        stack = [(self.root, root)]
        while stack:
            old, new = stack.pop()
            for child in old.children:
                if keep(child):
                    stack.append((child, new.add(clone(child))))
        return Tree(root, self.id, dict(self.meta))


def _is_aside(node: Node) -> bool:
    """Whether a branch is a critic's words, or a question with nothing but such words below it."""
    spoken = node.author == "critic" or (node.author == "prompt" and bool(node.children))
    return spoken and all(map(_is_aside, node.children))
