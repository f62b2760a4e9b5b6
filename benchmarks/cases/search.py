"""What strategies cost over plain sampling of as many tokens, with as many rows at once, by the same engine.

Samples that end at a stop string cost more than those that run side by side to the same length, whoever asks for them:
"plain, stop string" says how much.
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

    def one(
        name: str,
        strategy: str,
        options: dict[str, Any],
        each: int,
        n: int = 8,
        longest: int = step,
        of: int = 1,
        stop: str = "",
    ) -> Contestant:
        """`each` is the number of rows of a problem in one call; there are `of` times as many problems as places."""
        asked = {"strategy": strategy, "options": options, "step": longest, "n": n, "length": steps * step}
        asked |= {"stop": stop}
        rows = {"rows": each * problems, "problems": of * problems}
        return Contestant(name, "benchmarks.ours.search:Search", settings={**asked, **rows})

    few = {"width": 4, "expand": 2}
    halts = {"max_steps": steps, "stop": "."}
    flying = {"batch": 4, "in_flight": problems}
    beside = {
        "own": "share outside the engine",
        "passes": "passes of the model",
        "plain_passes": "passes of plain sampling",
    }
    against = (
        "seconds for a token beside those of plain sampling by the same engine in the same process, with as many "
        "tokens and rows at once"
    )
    shown = {"figure": "ratio", "unit": "of plain sampling's time for a token", "beside": beside}
    prepare = partial(make, size=size, problems=4 * problems, low=30, high=60)
    yield Case(
        "search-overhead",
        f"Search, {size}: {problems} problems of 30 to 60 tokens, {steps} steps of {step} tokens; {against}",
        prepare,
        [
            one("plain sampling", "Sample", {"n": 8}, 8, longest=steps * step),
            one("beam", "StepBeam", {**few, **rounds}, 8),
            one("diverse beams", "DiverseTreeSearch", {**few, **rounds}, 8),
            one("particles", "ParticleFilter", {"particles": 8, **rounds}, 8),
            one("MCTS", "MCTS", {"simulations": steps * 2, "expand": 4, "stop": ""}, 4),
            one("lookahead", "StepBeam", {**few, **rounds, "max_steps": steps // 2, "lookahead": 1}, 8),
            one("tree sampling", "TreeSampling", {"rollouts": 4, **rounds}, 1, n=4),
        ],
        [
            *(Claim(name, "plain sampling", most=MOST) for name in ("beam", "diverse beams", "particles", "MCTS")),
            *(Claim(name, "plain sampling") for name in ("lookahead", "tree sampling")),
        ],
        **shown,
    )
    ends: dict[str, Any] = {"longest": 4 * step}
    many: dict[str, Any] = {**ends, "of": 4}
    plain = {"n": 8 * steps, "batch": 4 * problems}
    yield Case(
        "search-halts",
        f"Search, {size}: {problems} problems of 30 to 60 tokens (in flight {4 * problems}), {steps} steps that end at "
        f"a stop string, of {step} tokens on average; {against}",
        prepare,
        [
            one("plain sampling", "Sample", {"n": 8}, 8, longest=steps * step),
            one("plain, stop string", "Sample", plain, 8, stop=".", **many),
            one("beam, stop string", "StepBeam", {**few, **halts}, 8, **ends),
            one("particles, stop string", "ParticleFilter", {"particles": 8, **halts}, 8, **ends),
            one("beam, in flight", "StepBeam", {**few, **halts, **flying}, 8, **many),
            one("particles, in flight", "ParticleFilter", {"particles": 8, **halts, **flying}, 8, **many),
        ],
        [
            Claim("plain, stop string", "plain sampling"),
            *(
                Claim(f"{name}, {how}", "plain sampling")
                for name in ("beam", "particles")
                for how in ("stop string", "in flight")
            ),
            *(Claim(f"{name}, in flight", "plain, stop string", most=MOST) for name in ("beam", "particles")),
        ],
        **shown,
    )
