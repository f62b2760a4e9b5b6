"""Evolutionary decoding (Hung et al. 2024, "DARWIN: reward steering with evolutionary heuristics", arXiv 2406.15193).

Exploration: the population starts from mutated instructions. Exploitation: after every segment of tokens the particles
with the lowest reward are replaced by those with the highest, which from there on differ by their sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.search.aggregate import Extract, chosen
from espalier.search.beam import highest
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.search.population import Stops, grow, is_open, stepwise
from espalier.trees import Node

Mutate = Callable[[str], Sequence[str]]
"""From a prompt to texts that are put after it, each another way to ask; "" leaves it as it is."""


@dataclass
class Darwin(Chunked):
    """A population of `width` responses; the answer is the best-scored that finished, or wins the weighted vote.

    Attributes:
        width: the size of the population.
        replaced: how many are replaced after a segment; less than `width`.
        sampling: how segments are drawn; `max_tokens` is for one segment.
        score: the name of the score that the scorer gives to every segment.
        mutate: other ways to ask; the population is spread over them evenly.
        stop: the string that ends a segment; "" for segments of `max_tokens` tokens.
        max_steps: segments of a response, at most.
        vote: where given, the final answer of a response, and the finished leaves take a score-weighted vote on it.
    """

    width: int = 8
    replaced: int = 2
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=32))
    score: str = "value"
    mutate: Mutate | None = None
    stop: Stops = ""
    max_steps: int = 32
    vote: Extract | None = None
    name = "darwin"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replaced >= self.width:
            raise ConfigError(f"replaced must be less than the width {self.width}, found {self.replaced}")

    def grow(self, chunk: Chunk) -> list[Node | None]:
        sampling = stepwise(self.sampling, self.stop)
        population = [list(islice(cycle(self._asked(tree.root)), self.width)) for tree in chunk.trees]
        for _ in range(self.max_steps):
            live = [[node for node in of if node.author == "prompt" or is_open(node, sampling)] for of in population]
            grown = grow(chunk, live, 1, sampling)
            if not any(new for of in grown for new in of):
                break
            done = [[node for node in of if node not in some] for of, some in zip(population, live, strict=True)]
            moved = [
                [new[0] if new else node for node, new in zip(some, of, strict=True)]
                for some, of in zip(live, grown, strict=True)
            ]
            chunk.score(self.score, of=moved)
            population = [stay + self._replace(some) for stay, some in zip(done, moved, strict=True)]
        for tree in chunk.trees:
            for asked in [node for node in tree.leaves() if node.author == "prompt"]:
                asked.detach()  # nobody answered it
        leaves = [tree.leaves() for tree in chunk.trees]
        return [chosen(of, self.score, self.vote) for of in leaves]

    def _asked(self, root: Node) -> list[Node]:
        texts = [""] if self.mutate is None else list(self.mutate(root.text))
        return [root.add(Node(text, "prompt")) if text else root for text in texts]

    def _replace(self, nodes: list[Node]) -> list[Node]:
        """The best of each stands for one of the worst; those without a score are the worst."""
        values = {node: node.value(self.score) for node in nodes}
        ranked = highest(nodes, values, len(nodes)) + [node for node in nodes if values[node] is None]
        count = min(self.replaced, len(ranked) // 2)
        return ranked[: len(ranked) - count] + ranked[:count]
