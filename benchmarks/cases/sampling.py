"""Sampling against `transformers` and vLLM: many short prompts, and many answers to one long prompt."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import workloads as work
from benchmarks.cases.training import ALLOCATOR
from benchmarks.harness import Case, Claim, Contestant, interpreter
from benchmarks.machine import bf16_hardware

SHAPES = {**work.SHAPES, "6m": work.Shape(256, 6, 768, 4, 2)}
DTYPE = "bfloat16" if bf16_hardware() else "float32"
GENERATE = "benchmarks.peers.generate:Generate"
BEST = {"ordered": True, "top_k": 0, "dtype": DTYPE}
"""The whole distribution, as we sample from it; by default `generate` keeps the 50 likeliest tokens."""


def make(folder: Path, size: str, prompts: int, low: int, high: int) -> None:
    shape = SHAPES[size]
    work.make_model(folder, shape)
    work.write_rows(folder / "prompts.jsonl", work.prompts(prompts, low, high, shape.vocabulary))


def vllm(asked: dict[str, int]) -> Contestant:
    """With the OpenMP library that it asks for, which its own environment holds."""
    python = interpreter("vllm")
    openmp = Path(python).parents[1] / "lib/libiomp5.so" if python else Path()
    environ = {**ALLOCATOR, **({"LD_PRELOAD": str(openmp)} if openmp.is_file() else {})}
    return Contestant("vLLM", "benchmarks.peers.vllm:Vllm", "vllm", {**asked, "dtype": DTYPE}, environ)


def at_its_best(asked: dict[str, int], choices: list[dict[str, int]], **more: Any) -> Contestant:
    settings = {**asked, **BEST}
    return Contestant("generate at its best", GENERATE, "trl", settings, ALLOCATOR, choices=choices, **more)


def cases(smoke: bool) -> Iterator[Case]:
    prompts, tokens = (2, 4) if smoke else (64, 64)
    for size in ("tiny",) if smoke else ("10m", "6m"):
        asked = {"n": 8, "max_tokens": tokens}
        yield Case(
            f"sample-{size}",
            f"Sampling, {size}: {prompts} prompts of 8 to 64 tokens, 8 samples each of {tokens} tokens",
            partial(make, size=size, prompts=prompts, low=8, high=64),
            [
                Contestant("espalier", "benchmarks.ours.sampling:Extend", settings=asked),
                Contestant("generate, all at once", GENERATE, "trl", asked),
                Contestant(
                    "generate, prompt by prompt", GENERATE, "trl", {**asked, "batch": 1, "share": 0.25}, rounds=2
                ),
                at_its_best(asked, [{"batch": batch} for batch in ((1, 2) if smoke else (4, 8, 16, 32, 64))]),
                vllm(asked),
            ],
            [
                Claim("espalier", "generate, prompt by prompt", least=25.0),
                Claim("espalier", "generate, all at once", least=25.0),
                Claim("espalier", "generate at its best", least=4.0),
                Claim("espalier", "vLLM", least=1.0),
            ],
        )
    size, length, rows = ("tiny", 40, 4) if smoke else ("10m", 1000, 64)
    asked = {"n": rows, "max_tokens": tokens}
    yield Case(
        "sample-long",
        f"Sampling, {size}: one prompt of {length} tokens, {rows} samples of {tokens} tokens",
        partial(make, size=size, prompts=1, low=length, high=length),
        [
            Contestant("espalier", "benchmarks.ours.sampling:Extend", settings=asked),
            Contestant("generate, all at once", GENERATE, "trl", asked, rounds=2),
            at_its_best(
                asked,
                [{"rows": count} for count in ((2, 4) if smoke else (4, 8, 16))],
                rounds=3,
                trial={"n": 2 if smoke else 16},
            ),
            Contestant("generate, prompt run once", GENERATE, "trl", {**asked, **BEST, "prefilled": True}, ALLOCATOR),
            vllm(asked),
        ],
        [
            Claim("espalier", "generate, all at once", least=10.0),
            Claim("espalier", "generate at its best", least=10.0),
            Claim("espalier", "generate, prompt run once"),
            Claim("espalier", "vLLM"),
        ],
    )
