"""Labels for the lines of a program: change one, run the tests, and see whether it still passes.

Ye et al. 2025, PRLCoder (arXiv 2502.01715), section 3.1. A teacher rewrites one statement of a program that passes:
where the program still passes the new statement is a good step, where it breaks a bad one. Who rewrites and who runs
(in a sandbox) are callables here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from espalier.trees import Node, Score, Tree

Rewrite = Callable[[list[str], int], Iterable[str]]
"""From a program's lines and the number of one of them to other versions of that line."""

Passes = Callable[[str, Tree], bool]
"""Whether a program passes the tests of its problem; what it raises becomes a missing label."""


def mutate_and_execute(tree: Tree, rewrite: Rewrite, passes: Passes, name: str = "label") -> Tree:
    """A copy in which every line of every passing program has its rewritten versions beside it, labelled by execution.

    The lines of a passing program are labelled 1. A program is a chain of nodes, one a line or statement.

    Args:
        tree: the task, with programs as chains.
        rewrite: see `Rewrite`; a version equal to the line is left out.
        passes: see `Passes`.
        name: of the label.
    """
    labelled = tree.copy()
    for leaf in labelled.leaves():
        chain = leaf.path()[1:]
        lines = [node.text for node in chain]
        if _run(passes, "".join(lines), labelled).value != 1.0:
            continue
        for at, node in enumerate(chain):
            node.scores[name] = Score(1.0)
            parent = node.parent
            assert parent is not None
            known = {child.text for child in parent.children}
            for line in rewrite(lines, at):
                if line in known:
                    continue
                known.add(line)
                label = _run(passes, "".join([*lines[:at], line, *lines[at + 1 :]]), labelled)
                parent.add(Node(line, node.author, scores={name: label}, meta={"mutated": at}))
    return labelled


def _run(passes: Passes, program: str, tree: Tree) -> Score:
    try:
        return Score(float(passes(program, tree)))
    except Exception as error:  # a sandbox that is missing, a time-out of the machine: not the program's fault
        return Score.absent(f"{type(error).__name__}: {error}")
