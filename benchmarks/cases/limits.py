"""How near our own limits we come: what sharing saves, the matrix-product peak, memory, and growth with the work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import workloads as work
from benchmarks.cases.training import make, trl
from benchmarks.harness import Case, Claim, Contestant
from benchmarks.machine import bf16_hardware

PASSES = "benchmarks.ours.passes:Passes"
TRAIN = "benchmarks.ours.train:Train"


def cases(smoke: bool) -> Iterator[Case]:
    yield sharing(smoke)
    yield mfu(smoke)
    yield memory(smoke)
    yield tokens(smoke)
    yield nodes(smoke)


def sharing(smoke: bool) -> Case:
    """Tokens that are computed, so that the ratio of rates is the share of what the saved tokens promise."""

    def groups(folder: Path) -> None:
        shape = work.SHAPES["tiny" if smoke else "10m"]
        work.make_model(folder, shape)
        each = 8 if smoke else 128
        rows = [work.responses(8, each, each, shape.vocabulary, seed) for seed in range(2 if smoke else 12)]
        work.write_rows(folder / "rows.jsonl", [row for group in rows for row in group])

    return Case(
        "sharing",
        "Forward and backward passes over groups of 8, prompt and response of 128 tokens each, in computed tokens: the"
        " ratio is the share of what the saved tokens promise (1.78 times) that is reached",
        groups,
        [
            Contestant("shared", PASSES, settings={"shared": True}),
            Contestant("flat", PASSES, settings={"shared": False}),
        ],
        [Claim("shared", "flat", least=0.85)],
    )


def mfu(smoke: bool) -> Case:
    def pairs(folder: Path) -> None:
        make(folder, "tiny" if smoke else "40m")
        rows = work.read_rows(folder / "pairs.jsonl")
        both = [{"prompt": row["prompt"], "completion": row[name]} for row in rows for name in ("chosen", "rejected")]
        work.write_rows(folder / "rows.jsonl", both)

    dtype, least = ("bf16", 0.5) if bf16_hardware() else ("fp32", 0.6)
    return Case(
        "mfu",
        f"Model FLOPs of DPO on the 40m model beside the {dtype} matrix-product peak; each counts the tokens that it "
        "must compute, without padding and recomputation",
        pairs,
        [
            Contestant("peak", "benchmarks.ours.peak:Peak", settings={"dtype": dtype}),
            Contestant("espalier, forward and backward", PASSES),
            Contestant("espalier, whole run", TRAIN, settings={"recipe": "dpo"}),
            trl("TRL fp32", "dpo"),
            trl("TRL at its best", "dpo"),
        ],
        [
            Claim("espalier, forward and backward", "peak", least=least),
            Claim("espalier, whole run", "peak"),
            Claim("TRL fp32", "peak"),
            Claim("TRL at its best", "peak"),
        ],
        figure=("flops", "seconds"),
        unit="GFLOP/s",
        scale=1e9,
    )


def memory(smoke: bool) -> Case:
    # Without bf16 in hardware the run in TRL's default precision takes half an hour; in fp32 it keeps no less.
    readings = ["TRL fp32", "TRL at its best", *(["TRL as it comes"] if bf16_hardware() or smoke else [])]
    return Case(
        "memory",
        "DPO with a vocabulary of 150,000: the peak of the memory above the loaded model's, 16 pairs in steps of 8",
        partial(make, size="tiny" if smoke else "10m-150k"),
        [
            Contestant("espalier", TRAIN, settings={"recipe": "dpo"}),
            *(trl(name, "dpo", share=1.0) for name in readings),
        ],
        [Claim("espalier", name, most=1 / 3) for name in readings],
        figure="peak",
        unit="MB",
        scale=1e6,
        fresh=True,
    )


def tokens(smoke: bool) -> Case:
    small, steps = (2, 1) if smoke else (8, 3)
    sizes = {"small": small, "large": 4 * small}

    def pairs(folder: Path) -> None:
        shape = work.SHAPES["tiny" if smoke else "10m"]
        work.make_model(folder, shape)
        rows = work.pairs(small * steps, shape.vocabulary)
        for name, size in sizes.items():
            work.write_rows(folder / f"{name}.jsonl", rows * (size // small))

    return Case(
        "growth-tokens",
        f"DPO runs of {steps} steps on the 10m model, of {small} and of {4 * small} pairs a step",
        pairs,
        [
            Contestant(name, TRAIN, settings={"recipe": "dpo", "data": f"{name}.jsonl", "batch_size": size})
            for name, size in sizes.items()
        ],
        [Claim("large", "small", least=0.9)],
    )


def nodes(smoke: bool) -> Case:
    sizes = {"small": 1_000, "large": 4_000} if smoke else {"small": 250_000, "large": 1_000_000}
    where = "benchmarks.ours.forests:ReadViewWrite"
    return Case(
        "growth-nodes",
        "A forest of 250,000 and of 1,000,000 nodes read, viewed (pairs, groups, chains, steps) and written",
        lambda folder: None,
        [Contestant(name, where, settings={"nodes": size}) for name, size in sizes.items()],
        [Claim("large", "small", least=0.9)],
        figure=("nodes", "seconds"),
        unit="nodes/s",
    )
