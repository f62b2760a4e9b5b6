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
PAIRS = {"tiny": 4, "10m": 96, "40m": 48, "10m-150k": 16}
FIRST_SHARE = 0.25
"""Without bf16 in hardware, TRL's default precision takes minutes: this much of the work, once, tells enough."""

# glibc gives memory back to the system at every step unless it is told not to.
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_MMAP_THRESHOLD_": "8589934592"}
BEST = {"best": True, "batch": 2, "attention": "sdpa", "bf16": bf16_hardware()}
OURS = "benchmarks.ours.train:Curve"
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
            name, where, "trl", {"recipe": recipe, **BEST}, ALLOCATOR, choices=choices, trial={"share": 0.25}
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
    size = "tiny" if smoke else "10m"
    peer = "benchmarks.peers.trl_train:Curve"
    for recipe, name in NAMES.items():
        yield curve(
            f"curve-{recipe}",
            f"{name}, {size}: the loss of 8 steps, each on the same 8 pairs, in fp32 with the same settings",
            size,
            recipe,
            (Contestant("espalier", OURS, rounds=1), Contestant("TRL", peer, "trl", rounds=1)),
            within=1e-4,
        )
    # Our default where the processor has such products.
    yield curve(
        "curve-bf16",
        f"DPO, {size}: the loss of 8 steps, each on the same 8 pairs, with matrix products in bf16 and in fp32",
        size,
        "dpo",
        (
            Contestant("bf16", OURS, settings={"precision": "bf16"}, rounds=1),
            Contestant("fp32", OURS, rounds=1),
        ),
        within=1e-2,
    )


def curve(name: str, title: str, size: str, recipe: str, sides: tuple[Contestant, Contestant], within: float) -> Case:
    """Two runs of one recipe with every setting given, whose losses are compared step by step."""
    settings = {"recipe": recipe, "steps": 8, "lr": 1e-4}
    one, other = (side.having(settings) for side in sides)
    return Case(
        name,
        title,
        partial(make, size=size, count=8),
        [one, other],
        [Claim(one.name, other.name, within=within)],
        figure="seconds",
        unit="s",
    )
