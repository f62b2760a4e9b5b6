"""A step of GRPO against TRL: 8 answers to each of 8 prompts are sampled, judged and learned from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import workloads as work
from benchmarks.cases.training import ALLOCATOR
from benchmarks.harness import Case, Claim, Contestant
from benchmarks.machine import bf16_hardware

ASKED = {"short": (4.5, 2.8), "300": (8.0, 4.0)}
"""Of each length of the prompts, the least ratio to TRL as it comes, and at its best."""
LENGTHS = {"short": 0, "300": 300}
PEER = "benchmarks.peers.trl_grpo:Grpo"
BEST = {"best": True, "bf16": bf16_hardware()}
BATCHES = {"short": (4, 8, 16, 32), "300": (2, 4)}
"""Rows that TRL computes at once in the update: which is best is searched for."""


def make(folder: Path, size: str, tokens: int) -> None:
    shape = work.SHAPES[size]
    work.make_model(folder, shape)
    work.write_rows(folder / "prompts.jsonl", work.arithmetic(32, tokens, shape.vocabulary))


def cases(smoke: bool) -> Iterator[Case]:
    for name, (comes, best) in ASKED.items():
        size, tokens = ("tiny", min(LENGTHS[name], 30)) if smoke else ("10m", LENGTHS[name])
        settings = {"max_tokens": 4 if smoke else 64, "lr": 1e-6, "steps": 2 if name == "short" and not smoke else 1}
        # Without bf16 in hardware, one step of TRL's default precision tells enough.
        trial = {} if bf16_hardware() else {"steps": 1}
        yield Case(
            f"grpo-{name}",
            f"GRPO steps, {size}: 64 rows (8 prompts of {tokens or 'about 6'} tokens, 8 answers each) of "
            f"{settings['max_tokens']} tokens",
            partial(make, size=size, tokens=tokens),
            [
                Contestant("espalier", "benchmarks.ours.grpo:Grpo", settings={**settings, "schedule": "constant"}),
                Contestant("TRL fp32", PEER, "trl", {**settings, "bf16": False}, rounds=2),
                Contestant(
                    "TRL at its best",
                    PEER,
                    "trl",
                    {**settings, **BEST},
                    ALLOCATOR,
                    choices=[{"batch": batch, "attention": "sdpa"} for batch in BATCHES[name][: 1 if smoke else None]],
                    trial={"steps": 1},
                ),
                Contestant("TRL as it comes", PEER, "trl", {**settings, **trial}, rounds=1 if trial else None),
            ],
            [
                Claim("espalier", "TRL as it comes", least=comes),
                Claim("espalier", "TRL fp32", least=comes),
                Claim("espalier", "TRL at its best", least=best),
            ],
            figure=("steps", "seconds"),
            unit="steps/minute",
            scale=1 / 60,
        )
