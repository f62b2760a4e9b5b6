"""A search, and in turn with it plain sampling: what a strategy costs over the tokens that it draws.

The peer is `Sample` by the same engine in the same process, with as many rows at once and (up to texts that end early)
as many tokens. Turns are short and alternate, since a machine that others use too changes its speed within seconds. A
scorer that costs nothing stands in for a reward model, since its work is no overhead; what little time it takes is left
out.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import espalier as esp
from benchmarks.workloads import read_rows
from espalier import search


class Luck:
    """A score between 0 and 1 that follows from a step's text."""

    name = "value"

    def __init__(self) -> None:
        self.spent = esp.Ledger()

    def score(self, forest: esp.Forest) -> esp.Forest:
        start = time.perf_counter()
        for node in forest.nodes():
            if node.parent is not None and self.name not in node.scores:
                node.scores[self.name] = esp.Score(crc32(node.text.encode()) / 2**32)
        self.spent += esp.Ledger(seconds=time.perf_counter() - start)
        return forest


class Search:
    """
    Args:
        strategy: the name of its class.
        options: its settings.
        step: the most tokens of one of its steps.
        plain: settings of `Sample` in the other turn.
        length: the most tokens of one of its samples.
        stop: what its samples end at.
        rows: continuations that run at a time in either turn.
        problems: how many of the prompts are searched.
        pairs: turns of each in a round.
    """

    def __init__(
        self,
        folder: Path,
        *,
        strategy: str,
        options: dict[str, Any],
        step: int,
        plain: dict[str, Any],
        length: int,
        rows: int,
        problems: int,
        pairs: int,
        stop: str = "",
    ) -> None:
        self.prompts = [row["prompt"] for row in read_rows(folder / "prompts.jsonl")][:problems]
        self.engine = esp.LocalEngine(esp.load(folder / "model"), batch_size=rows)
        self.strategy, self.options, self.plain, self.pairs = strategy, options, plain, pairs
        self.sample = esp.Sampling(max_tokens=length, stop=(stop,) if stop else ())
        self.step = replace(self.sample, max_tokens=step)
        self.turns = self.passes = 0
        self.engine.model.hf.base_model.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.passes += 1

    def round(self) -> dict[str, float]:
        """Medians over the pairs of turns: the search's figures, those of plain sampling, and `ratio`, a search's time
        for a token over that of plain sampling beside it."""
        if not self.turns:
            self._turn(self._plain())  # the first turn of a process pays for its memory
        pairs = [self._pair() for _ in range(self.pairs)]
        return {name: statistics.median(pair[name] for pair in pairs) for name in pairs[0]}

    def _pair(self) -> dict[str, float]:
        self.turns += 1
        searched = getattr(search, self.strategy)(sampling=replace(self.step, seed=self.turns), **self.options)
        turns: list[tuple[str, search.Strategy]] = [("search", searched), ("plain", self._plain())]
        made = {name: self._turn(strategy) for name, strategy in turns[:: 1 if self.turns % 2 else -1]}
        ours, plain = made["search"], made["plain"]
        ratio = (ours["seconds"] / ours["tokens"]) / (plain["seconds"] / plain["tokens"])
        return {**ours, "ratio": ratio, **{f"plain_{name}": value for name, value in plain.items()}}

    def _plain(self) -> search.Strategy:
        return search.Sample(sampling=replace(self.sample, seed=self.turns), **self.plain)

    def _turn(self, strategy: search.Strategy) -> dict[str, float]:
        """
        Returns:
            `seconds` without the scorer's, `tokens` drawn, the share of the seconds outside of the engine (`own`), and
            how often the model ran (`passes`).
        """
        self.engine.forget()  # what an earlier turn computed
        forest, scorer, before = [esp.Tree(esp.Node(prompt, "prompt")) for prompt in self.prompts], Luck(), self.passes
        start = time.perf_counter()
        found = strategy.search(esp.Forest(forest), self.engine, scorer)
        seconds = time.perf_counter() - start - scorer.spent.seconds
        engine = found.ledger.seconds - (scorer.spent.seconds if strategy.judged else 0.0)
        return {
            "seconds": seconds,
            "tokens": found.ledger.generated,
            "prefilled": found.ledger.prefilled,
            "own": 1 - engine / seconds,
            "calls": found.ledger.calls,
            "passes": self.passes - before,
        }
