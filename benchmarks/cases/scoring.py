"""Scoring against padded passes of `transformers`: 64 responses of 200 tokens under one prompt of 500."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import workloads as work
from benchmarks.cases.training import ALLOCATOR
from benchmarks.harness import Case, Claim, Contestant
from benchmarks.machine import bf16_hardware

PEER = "benchmarks.peers.score:Score"


def cases(smoke: bool) -> Iterator[Case]:
    size, count, prompt, response = ("tiny", 4, 40, 10) if smoke else ("10m", 64, 500, 200)

    def make(folder: Path) -> None:
        shape = work.SHAPES[size]
        work.make_model(folder, shape)
        work.write_rows(folder / "responses.jsonl", work.responses(count, prompt, response, shape.vocabulary))

    best = {"dtype": "bfloat16" if bf16_hardware() else "float32"}
    choices = [{"batch": batch} for batch in ((1, 2) if smoke else (1, 2, 4, 8))]
    for head, steps in (("reward", 1), ("value", 10)):
        what = "a reward each" if steps == 1 else f"a value after each of {steps} steps"
        yield Case(
            f"score-{head}",
            f"Scoring, {size}: {count} responses of {response} tokens under one prompt of {prompt}, {what}",
            make,
            [
                Contestant("espalier", "benchmarks.ours.scoring:Score", settings={"head": head, "steps": steps}),
                Contestant("transformers, one by one", PEER, "trl", {"head": head, "batch": 1}, rounds=2),
                Contestant("transformers at its best", PEER, "trl", {"head": head, **best}, ALLOCATOR, choices=choices),
            ],
            [Claim("espalier", "transformers, one by one"), Claim("espalier", "transformers at its best")],
        )
