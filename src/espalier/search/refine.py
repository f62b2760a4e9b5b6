"""Refinement of one's own drafts: self-refine, test-time preference optimisation, aggregation by generation.

Self-Refine (Madaan et al. 2023, arXiv 2303.17651): draft, critique, revision, again. TPO (Li et al. 2025, arXiv
2501.12895): the best and the worst of several samples are compared in words (a textual loss), the words become
instructions (a textual gradient), and new samples follow them. Generative self-aggregation (Li et al. 2025, arXiv
2503.04104): several samples are put before the model, which writes one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from espalier.engines.base import Sampling
from espalier.search.aggregate import best, candidates
from espalier.search.asking import ask, compare, critique, gather, plan, revise, said
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.trees import Node

Question = Callable[[str], str]
Question2 = Callable[[str, str], str]


@dataclass
class SelfRefine(Chunked):
    """A draft is criticised and revised `rounds` times; the answer is the last revision, or the best-scored of all.

    Attributes:
        rounds: critiques, at most.
        sampling: of drafts, critiques and revisions.
        score: the score to choose by and to stop at; None keeps the last revision and needs no scorer.
        enough: a draft with at least this score is not refined.
        critique, revise: the questions.
    """

    rounds: int = 2
    sampling: Sampling = field(default_factory=Sampling)
    score: str | None = None
    enough: float = float("inf")
    critique: Question = critique
    revise: Question2 = revise
    name = "self-refine"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        drafts = chunk.extend([[tree.root] for tree in chunk.trees], 1, self.sampling)
        for _ in range(self.rounds):
            self._judge(chunk, drafts)
            texts = [said(of[-1]) if of and not self._content(of[-1]) else None for of in drafts]
            words = ask(chunk, [text and self.critique(text) for text in texts], 1, self.sampling, "critic")
            asked = [
                self.revise(text, said(of[0])) if text and of else None for text, of in zip(texts, words, strict=True)
            ]
            revised = ask(chunk, asked, 1, self.sampling)
            if not any(revised):
                break
            drafts = [old + new for old, new in zip(drafts, revised, strict=True)]
        self._judge(chunk, drafts)
        if self.score is None:
            return [of[-1] if of else None for of in drafts]
        return [best(of, self.score) for of in drafts]

    def _judge(self, chunk: Chunk, drafts: Sequence[Sequence[Node]]) -> None:
        if self.score is not None:
            chunk.score(self.score, of=drafts)

    def _content(self, draft: Node) -> bool:
        value = None if self.score is None else draft.value(self.score)
        return value is not None and value >= self.enough


@dataclass
class TPO(Chunked):
    """`width` samples, then `depth` times as many again, each time told what the best had over the worst.

    The answer is the best-scored of all.

    Attributes:
        width: samples of a round.
        depth: rounds of textual loss, textual gradient and update.
        sampling: of samples and words.
        score: the name of the reward.
        compare: asks for the textual loss, from the best and the worst.
        plan: asks for the textual gradient, from the best and the loss.
        revise: asks for the update, from the best and the gradient.
    """

    width: int = 4
    depth: int = 2
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "reward"
    compare: Question2 = compare
    plan: Question2 = plan
    revise: Question2 = revise
    name = "tpo"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        cache = chunk.extend([[tree.root] for tree in chunk.trees], self.width, self.sampling)
        chunk.score(self.score, of=cache)
        for _ in range(self.depth):
            ranked = [sorted(of, key=lambda node: node.value(self.score) or 0.0) for of in map(self._known, cache)]
            tops = [said(of[-1]) if len(of) > 1 else None for of in ranked]
            asked = [top and self.compare(top, said(of[0])) for top, of in zip(tops, ranked, strict=True)]
            for question in (self.plan, self.revise):
                words = ask(chunk, asked, 1, self.sampling, "critic")
                asked = [
                    question(top, said(of[0])) if top and of else None for top, of in zip(tops, words, strict=True)
                ]
            new = ask(chunk, asked, self.width, self.sampling)
            if not any(new):
                break
            cache = [old + more for old, more in zip(cache, new, strict=True)]
            chunk.score(self.score, of=cache)
        return [best(of, self.score) for of in cache]

    def _known(self, nodes: Sequence[Node]) -> list[Node]:
        return [node for node in nodes if node.value(self.score) is not None]


@dataclass
class Aggregate(Chunked):
    """`n` samples are put before the model, which writes the answer from them. No score, and nothing to vote on.

    Attributes:
        n: samples.
        sampling: of the samples.
        final: of the answer; by default as the samples.
        gather: the question, from the samples' texts.
    """

    n: int = 4
    sampling: Sampling = field(default_factory=Sampling)
    final: Sampling | None = None
    gather: Callable[[Sequence[str]], str] = gather
    name = "aggregate"
    judged = False

    def grow(self, chunk: Chunk) -> list[Node | None]:
        drafts = chunk.extend([[tree.root] for tree in chunk.trees], self.n, self.sampling)
        texts = [[said(node) for node in of] for of in drafts]
        answers = ask(chunk, [self.gather(of) if of else None for of in texts], 1, self.final or self.sampling)
        return [
            found[0] if found else next(iter(candidates(of)), None) for found, of in zip(answers, drafts, strict=True)
        ]
