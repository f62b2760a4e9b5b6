"""Global and local refinement (Havrilla et al. 2024, "GLoRe", arXiv 2402.10963), the inference side.

An outcome score says whether a draft should be refined, a process score (of a model trained on stepwise outcomes, the
paper's SORM) where it first went wrong. A local refinement keeps the steps before that one and goes on from there; a
global one writes the whole anew with the draft in view. The outcome score picks among draft and refinements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from espalier.engines.base import Engine, Sampling
from espalier.search.aggregate import best
from espalier.search.asking import ask, rewrite
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, roll, stepwise
from espalier.trees import Node


@dataclass
class Refinement(Chunked):
    """A greedy draft in steps, refined where its score is low; the answer is the best-scored of draft and refinements.

    Attributes:
        local: refinements that keep the draft's steps before the first wrong one; 0 for none.
        whole: refinements that write the whole anew, told the draft; 0 for none.
        sampling: how refinements are drawn; `max_tokens` is for one step of a draft, times `max_steps` of a whole.
        score: the outcome score of ends.
        steps: the process score of steps; None for the same as `score`.
        enough: a draft with at least this outcome score is kept as it is, and a step below it is where it went wrong.
        refiner: the engine that refines; None for the search's own.
        rewrite: the question of a whole refinement, from the draft.
        stop: the string that ends a step.
        max_steps: of a response, at most.
    """

    local: int = field(default=2, metadata={"least": 0})
    whole: int = field(default=2, metadata={"least": 0})
    sampling: Sampling = field(default_factory=Sampling)
    score: str = "value"
    steps: str | None = None
    enough: float = 0.5
    refiner: Engine | None = None
    rewrite: Callable[[str], str] = rewrite
    stop: Stops = "\n"
    max_steps: int = 32
    name = "refinement"

    def others(self) -> list[Engine]:
        return [] if self.refiner is None else [self.refiner]

    def grow(self, chunk: Chunk) -> list[Node | None]:
        greedy = stepwise(replace(self.sampling, temperature=0.0), self.stop)
        drafts = [ends[0] for ends in roll(chunk, [[tree.root] for tree in chunk.trees], self.max_steps, greedy)]
        chunk.score(self.score, of=[[draft] if draft.parent else [] for draft in drafts])
        weak = [draft if draft.parent and self._is_low(draft, self.score) else None for draft in drafts]
        ends = [[draft] if draft.parent else [] for draft in drafts]
        long = replace(self.sampling, max_tokens=self.sampling.max_tokens * self.max_steps)
        if self.local:
            places = [[self._last_right(draft)] if draft else [] for draft in weak]
            self._add(ends, chunk.extend(places, self.local, long, self.refiner))
        if self.whole:
            questions = [self.rewrite(draft.response().strip()) if draft else None for draft in weak]
            self._add(ends, ask(chunk, questions, self.whole, long, engine=self.refiner))
        if any(weak):
            chunk.score(self.score, of=ends)
        return [best(of, self.score) for of in ends]

    def _is_low(self, node: Node, score: str) -> bool:
        value = node.value(score)
        return value is not None and value < self.enough

    def _last_right(self, draft: Node) -> Node:
        """What stands before the draft's first wrong step; where no step is, before its last."""
        steps = draft.path()[1:]
        wrong = [step for step in steps if self._is_low(step, self.steps or self.score)] or steps[-1:]
        assert wrong[0].parent is not None
        return wrong[0].parent

    def _add(self, ends: list[list[Node]], new: list[list[Node]]) -> None:
        for of, more in zip(ends, new, strict=True):
            of += more
