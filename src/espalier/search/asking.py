"""Asking a model about what it wrote: the text that is put after the prompt, and what comes back.

What was written so far is quoted in the question, so the tree has it where it belongs: below the prompt a node by
"prompt" that asks, below that what the policy answered. Drafts stay leaves. Wording decides much with real models:
every question is a function of its own that you can replace.
"""

from __future__ import annotations

from collections.abc import Sequence

from espalier.engines.base import Engine, Sampling
from espalier.search.chunk import Chunk
from espalier.trees import Author, Node


def ask(
    chunk: Chunk,
    questions: Sequence[str | None],
    n: int,
    sampling: Sampling,
    author: Author = "policy",
    engine: Engine | None = None,
) -> list[list[Node]]:
    """For each tree the `n` answers to a question that is put after its prompt; none where there is no question.

    Args:
        author: who the answers are by. A critique is by "critic": it is no response (see `Node.ends_response`), and no
            loss learns from it; its tokens are in the ledger, since the engine sampled them.
        engine: who answers; None for the search's own.
    """
    asked = [
        [] if question is None else [tree.root.add(Node(question, "prompt"))]
        for tree, question in zip(chunk.trees, questions, strict=True)
    ]
    answers = chunk.extend(asked, n, sampling, engine)
    for found, nodes in zip(answers, asked, strict=True):
        for node in found:
            node.author = author
        for node in nodes:
            if not found:  # the budget ended: a question that nobody answered is no leaf
                node.detach()
    return answers


def said(node: Node) -> str:
    """What an answer says, without the question before it."""
    return node.text.strip()


def critique(draft: str) -> str:
    """Asks what is wrong with a draft."""
    return f"\n\nDraft answer:\n{draft}\n\nWhat is wrong with this draft? Be specific.\n"


def revise(draft: str, feedback: str) -> str:
    """Asks for a better answer than the draft."""
    return f"\n\nDraft answer:\n{draft}\n\nFeedback:\n{feedback}\n\nWrite the improved answer.\n"


def rewrite(draft: str) -> str:
    """Asks for a new answer, given a draft that may be wrong."""
    return f"\n\nDraft answer, which may be wrong:\n{draft}\n\nWrite the correct answer.\n"


def gather(drafts: Sequence[str]) -> str:
    """Asks for one answer made of several."""
    listed = "\n\n".join(f"Answer {i}:\n{draft}" for i, draft in enumerate(drafts, 1))
    return f"\n\nSeveral people answered:\n\n{listed}\n\nTaking the best of all of them, write the final answer.\n"


def compare(best: str, worst: str) -> str:
    """Asks why one answer is better than another."""
    return (
        f"\n\nPreferred answer:\n{best}\n\nRejected answer:\n{worst}\n\nWhy is the first better? What does it lack?\n"
    )


def plan(best: str, loss: str) -> str:
    """Asks how to improve an answer."""
    return f"\n\nAnswer:\n{best}\n\nAssessment:\n{loss}\n\nGive instructions for improving the answer.\n"
