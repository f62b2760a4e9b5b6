"""What strategies cost over plain sampling of as many tokens, with as many rows at once, by the same engine.

Samples that end at a stop string cost more than those that run side by side to the same length, whoever asks for them,
so each search is measured beside samples that end as its steps do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import workloads as work
from benchmarks.harness import Case, Claim, Contestant

MOST = 1.1


def make(folder: Path, size: str, problems: int, low: int, high: int) -> None:
    """Every sixteenth word ends with a full stop, so that steps that end there have 16 tokens on average."""
    shape = work.SHAPES[size]
    work.make_model(folder, shape)
    work.write_rows(folder / "prompts.jsonl", work.prompts(problems, low, high, shape.vocabulary))
    for path in (folder / "model" / "tokenizer.json", folder / "prompts.jsonl"):
        path.write_text(re.sub(r"\bw(\d+)\b", lambda word: word[0] + "." * (int(word[1]) % 16 == 0), path.read_text()))


def cases(smoke: bool) -> Iterator[Case]:
    size, problems, step, steps = ("tiny", 2, 4, 2) if smoke else ("10m", 16, 16, 6)
    rounds = {"max_steps": steps, "stop": ""}

    def one(name: str, strategy: str, options: dict[str, Any], most: int | None = None, **settings: Any) -> Contestant:
        """By default eight continuations of a problem at a time, of steps of one length, beside eight samples of it."""
        asked = {"step": step, "plain": {"n": 8}, "length": steps * step, "rows": 8 * problems, "problems": problems}
        asked |= {"strategy": strategy, "options": options, "pairs": 1 if smoke else 3}
        return Contestant(name, "benchmarks.ours.search:Search", settings={**asked, **settings}, rounds=most)

    few = {"width": 4, "expand": 2}
    halts: dict[str, Any] = {"step": 4 * step, "length": 4 * step, "stop": ".", "pairs": 1}
    halts["plain"] = {"n": 8 * steps, "batch": 4 * problems}
    beside = {
        "own": "share outside the engine",
        "passes": "passes of the model",
        "plain_passes": "passes of plain sampling",
    }
    against = (
        "seconds for a token beside those of plain sampling by the same engine, in turn with it in the same process, "
        "with as many tokens and rows at once"
    )
    shown = {"figure": "ratio", "unit": "of plain sampling's time for a token", "beside": beside}
    prepare = partial(make, size=size, problems=4 * problems, low=30, high=60)
    yield Case(
        "search-overhead",
        f"Search, {size}: {problems} problems of 30 to 60 tokens, {steps} steps of {step} tokens; {against}",
        prepare,
        [
            one("plain sampling", "Sample", {"n": 8}, step=steps * step),
            one("beam", "StepBeam", {**few, **rounds}),
            one("diverse beams", "DiverseTreeSearch", {**few, **rounds}),
            one("particles", "ParticleFilter", {"particles": 8, **rounds}),
            one("MCTS", "MCTS", {"simulations": steps * 2, "expand": 4, "stop": ""}, rows=4 * problems),
            one("lookahead", "StepBeam", {**few, **rounds, "max_steps": steps // 2, "lookahead": 1}),
            one("tree sampling", "TreeSampling", {"rollouts": 4, **rounds}, rows=problems, plain={"n": 4}),
        ],
        [Claim(name, most=MOST) for name in ("beam", "diverse beams", "particles", "MCTS")],
        **shown,
    )
    stops = {"max_steps": steps, "stop": "."}
    flying, many = {"batch": 4, "in_flight": problems}, {**halts, "problems": 4 * problems}
    yield Case(
        "search-halts",
        f"Search, {size}: {problems} problems of 30 to 60 tokens (in flight {4 * problems}), {steps} steps that end at "
        f"a stop string, of {step} tokens on average; {against}, and samples that end at the same stop string",
        prepare,
        [
            one("plain sampling", "Sample", halts["plain"], **many),
            one("beam, one batch", "StepBeam", {**few, **stops}, most=2, **halts),
            one("particles, one batch", "ParticleFilter", {"particles": 8, **stops}, most=2, **halts),
            one("beam, in flight", "StepBeam", {**few, **stops, **flying}, **many),
            one("particles, in flight", "ParticleFilter", {"particles": 8, **stops, **flying}, **many),
        ],
        [Claim(f"{name}, in flight", most=MOST) for name in ("beam", "particles")],
        **shown,
    )
