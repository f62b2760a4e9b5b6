"""DPO, reward models and SFT against TRL: the whole run, reference work included, and the same losses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import workloads as work
from benchmarks.harness import Case, Claim, Contestant
from benchmarks.machine import bf16_hardware

ASKED = {"dpo": (6.0, 2.5), "reward": (4.5, 1.8), "sft": (4.0, 1.8)}
"""Of each recipe, the least ratio to TRL as it comes, and at its best."""
NAMES = {"dpo": "DPO", "reward": "Reward model", "sft": "SFT"}
PAIRS = {"tiny": 4, "10m": 24, "40m": 16, "10m-150k": 16}
FIRST_SHARE = 0.25
"""Without bf16 in hardware, TRL's default precision takes minutes: this much of the work, once, tells enough."""

# glibc gives memory back to the system at every step unless it is told not to.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_MMAP_THRESHOLD_": "8589934592"}
BEST = {"best": True, "batch": 2, "attention": "sdpa", "bf16": bf16_hardware()}
CHOICES = [{"batch": batch, "attention": "sdpa"} for batch in (1, 2, 4, 8)] + [{"batch": 2, "attention": "eager"}]


def make(folder: Path, size: str, count: int | None = None) -> None:
    shape = work.SHAPES[size]
    work.make_model(folder, shape)
    work.write_rows(folder / "pairs.jsonl", work.pairs(count or PAIRS[size], shape.vocabulary))


def trl(name: str, recipe: str, share: float = FIRST_SHARE, searched: bool = False) -> Contestant:
    """TRL in one of its three settings; at its best after a search, else with what searches mostly find."""
    where = "benchmarks.peers.trl_train:Train"
    if name == "TRL at its best":
        choices = CHOICES if searched else ()
        return Contestant(
            name, where, "trl", {"recipe": recipe, **BEST}, ALLOCATOR, choices=choices, trial={"share": 0.5}
        )
    if name == "TRL fp32":
        return Contestant(name, where, "trl", {"recipe": recipe, "bf16": False}, rounds=2)
    if bf16_hardware():
        return Contestant(name, where, "trl", {"recipe": recipe})
    return Contestant(name, where, "trl", {"recipe": recipe, "share": share}, rounds=1)


def cases(smoke: bool) -> Iterator[Case]:
    for recipe, (comes, best) in ASKED.items():
        for size in ("tiny",) if smoke else ("10m", "40m"):
            yield Case(
                f"{recipe}-{size}",
                f"{NAMES[recipe]}, {size}: a whole run on {PAIRS[size]} preference pairs",
                partial(make, size=size),
                [
                    Contestant("espalier", "benchmarks.ours.train:Train", settings={"recipe": recipe}),
                    *(trl(name, recipe, searched=True) for name in ("TRL fp32", "TRL at its best", "TRL as it comes")),
                ],
                [
                    Claim("espalier", "TRL as it comes", least=comes),
                    Claim("espalier", "TRL fp32", least=comes),
                    Claim("espalier", "TRL at its best", least=best),
                ],
            )
    for recipe in ASKED:
        yield curve(recipe, "tiny" if smoke else "10m")
    yield rounded("tiny" if smoke else "10m")


def curve(recipe: str, size: str) -> Case:
    settings = {"recipe": recipe, "steps": 8, "lr": 1e-4}
    return Case(
        f"curve-{recipe}",
        f"{NAMES[recipe]}, {size}: the loss of 8 steps, each on the same 8 pairs, in fp32 with the same settings",
        partial(make, size=size, count=8),
        [
            Contestant("espalier", "benchmarks.ours.train:Curve", settings=settings, rounds=1),
            Contestant("TRL", "benchmarks.peers.trl_train:Curve", "trl", settings, rounds=1),
        ],
        [Claim("espalier", "TRL", within=1e-4)],
        figure="seconds",
        unit="s",
    )


def rounded(size: str) -> Case:
    """Products in bf16 against fp32: our default where the processor has them."""
    settings = {"recipe": "dpo", "steps": 8, "lr": 1e-4}
    ours = "benchmarks.ours.train:Curve"
    return Case(
        "curve-bf16",
        f"DPO, {size}: the loss of 8 steps, each on the same 8 pairs, with matrix products in bf16 and in fp32",
        partial(make, size=size, count=8),
        [
            Contestant("bf16", ours, settings={**settings, "precision": "bf16"}, rounds=1),
            Contestant("fp32", ours, settings=settings, rounds=1),
        ],
        [Claim("bf16", "fp32", within=1e-2)],
        figure="seconds",
        unit="s",
    )
