"""`espalier sample | score`: forests in, forests out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from espalier.errors import ConfigError

if TYPE_CHECKING:
    from espalier.trees import Forest

EngineName = Literal["local", "vllm"]
Columns = Annotated[list[str] | None, Parameter(consume_multiple=True)]


def sample(
    *,
    model: str,
    data: str,
    out: Path,
    n: Annotated[int, Parameter(alias="-n")] = 8,
    max_tokens: int = 256,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    seed: int = 0,
    engine: EngineName = "local",
    limit: int | None = None,
    columns: Columns = None,
) -> None:
    """Sample n responses to each prompt and write the forest.

    A second call with the same --out goes on where the first one was stopped.

    For example:

        espalier sample --model runs/sft/model --data problems.jsonl --out runs/samples -n 8 --max-tokens 128

    Args:
        model: folder or hub id.
        data: prompts; responses that the file has are left out.
        out: folder for the forest's shards.
        n: responses for each prompt.
        max_tokens: longest response.
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps all.
        top_k: 0 keeps all.
        stop: strings that end a response.
        seed: same seed, same responses.
        engine: who writes; vllm must be installed.
        limit: only the first so many prompts.
        columns: our column names to the file's, as in prompt=question.
    """
    from espalier.cli.settings import open_engine
    from espalier.engines.base import Sampling
    from espalier.report.progress import track
    from espalier.trees import ForestWriter

    sampling = Sampling(max_tokens, temperature, top_p, top_k, tuple(stop or ()))
    writes = open_engine(engine, model)
    prompts = open_prompts(data, columns, limit, writes.tokenizer)
    _settle(out, {"model": model, "data": data, "n": n, **asdict(replace(sampling, seed=seed))})
    with ForestWriter(out, append=True) as writer, track("sample", len(prompts), "prompts") as bar:
        done = len(writer)
        bar.advance(done)
        for chunk, index in _chunks(prompts, 64, done):
            roots = [tree.root for tree in chunk]
            chunk_sampling = replace(sampling, seed=seed * 1_000_003 + index)
            for root, nodes in zip(roots, writes.extend(roots, n, chunk_sampling), strict=True):
                for node in nodes:
                    root.add(node)
            for tree in chunk:
                writer.write(tree)
            writer.flush()
            bar.advance(len(chunk), note=f"{writes.spent.generated:,} tokens")
    print(f"{len(prompts)} trees with {n} responses each: {out}")


def score(forest: str, *, scorer: str, out: Path) -> None:
    """Put a score on every node that the scorer can judge, and write the forest.

    With reference:MODEL the responses get that model's log-probs instead; training from the same model (DPO, say) on
    the forest then needs no reference pass of its own. With tokens:MODEL every token gets its log-prob, value and
    advantage, which `espalier view` shows as strips of colour.

    For example:

        espalier score runs/samples --scorer numeric --out runs/judged

        espalier score pairs.jsonl --scorer reference:runs/sft/model --out runs/annotated

    Args:
        forest: a forest, or rows with responses.
        scorer: exact, numeric, math, arithmetic, format:REGEX, a saved reward or value model's folder,
            reference:MODEL or tokens:MODEL.
        out: folder for the scored forest.
    """
    from espalier.cli.settings import open_scorer
    from espalier.report.progress import track
    from espalier.trees import ForestWriter, read

    kind, _, path = scorer.partition(":")
    if kind in ("reference", "tokens"):
        annotate(forest, kind, path, out)
        return
    trees = read(forest)
    judge = open_scorer(scorer)
    given = missing = 0
    with ForestWriter(out) as writer, track(f"score {judge.name}", len(trees), "trees") as bar:
        for chunk, _ in _chunks(trees, 64, 0):
            for tree in judge.score(chunk):
                scores = [node.scores[judge.name] for node in tree.walk() if judge.name in node.scores]
                given, missing = given + len(scores), missing + sum(found.is_missing for found in scores)
                writer.write(tree)
            bar.advance(len(chunk), note=f"{missing} of {given} missing")
    print(f"{given} scores {judge.name!r}, {missing} of them missing: {out}")


def annotate(forest: str, kind: str, model: str, out: Path) -> None:
    """Write the forest with a model's numbers on the tokens of its responses."""
    from espalier.models import load
    from espalier.report.progress import track
    from espalier.scorers import ReferenceLogProbs, TokenView
    from espalier.trees import ForestWriter, read

    judge = (ReferenceLogProbs if kind == "reference" else TokenView)(load(model))
    trees = read(forest, tokenizer=judge.model.tokenizer)
    with ForestWriter(out) as writer, track(f"{kind} pass", 0, "trees") as bar:
        for tree in judge.score(trees, bar.reach):
            writer.write(tree)
    print(f"{judge.spent.scored:,} tokens run, stream {judge.name!r}: {out}")


def open_prompts(data: str, columns: list[str] | None, limit: int | None, tokenizer: Any) -> Forest:
    """The bare problems of a file or forest; `tokenizer` has the chat template for chat messages."""
    from espalier.cli.settings import parse_columns
    from espalier.trees import read

    forest = read(data, columns=parse_columns(columns) if columns else None, tokenizer=tokenizer)
    return (forest[:limit] if limit is not None else forest).prompts()


def _settle(out: Path, settings: dict[str, Any]) -> None:
    """Note beside a forest how it is sampled, or check that it was sampled so, lest two policies mix in one forest."""
    note = out / "sampling.json"
    settings = json.loads(json.dumps(settings))
    if note.exists():
        before = json.loads(note.read_text())
        for key in sorted(before.keys() | settings.keys()):
            if before.get(key) != settings.get(key):
                raise ConfigError(
                    f"{out}: was begun with {key} = {before.get(key)!r}, but this call says {settings.get(key)!r}; "
                    "go on with the same, or choose another --out"
                )
        return
    out.mkdir(parents=True, exist_ok=True)
    aside = note.with_suffix(".tmp")
    aside.write_text(json.dumps(settings))
    aside.replace(note)


def _chunks(forest: Forest, size: int, first: int) -> Iterator[tuple[Forest, int]]:
    for start in range(first, len(forest), size):
        yield forest[start : start + size].load(), start
