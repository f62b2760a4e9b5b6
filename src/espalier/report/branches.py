"""A tree as an outline: unbroken runs of steps side by side, so that a long chain is a list and not a staircase."""

from __future__ import annotations

from dataclasses import dataclass

from espalier.trees import Node, Tree


@dataclass(frozen=True, slots=True)
class Branch:
    """A run of nodes from a fork (or the prompt) to the next fork or ending.

    Attributes:
        nodes: top to bottom; each but the last has one child.
        level: how many forks stand above; 1 for what hangs on the prompt.
        last: whether no alternative follows at its fork.
    """

    nodes: list[Node]
    level: int
    last: bool


def branches(tree: Tree) -> list[Branch]:
    """All branches below the prompt, each before those that fork from it, in the tree's order.

    >>> root = Node("2+2=", "prompt")
    >>> end = root.add(Node("2+2")).add(Node("=4"))
    >>> [len(branch.nodes) for branch in branches(Tree(root))]
    [2]
    """
    found: list[Branch] = []
    stack = [(child, 1, child is tree.root.children[-1]) for child in reversed(tree.root.children)]
    while stack:
        node, level, last = stack.pop()
        nodes = [node]
        while len(node.children) == 1:
            node = node.children[0]
            nodes.append(node)
        found.append(Branch(nodes, level, last))
        stack.extend((child, level + 1, child is node.children[-1]) for child in reversed(node.children))
    return found
