"""`espalier label`: step labels for the responses of a forest, by completing every prefix that a method asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from espalier.cli.forests import EngineName

if TYPE_CHECKING:
    from espalier.curation.labels import Method
    from espalier.trees import Ledger

MethodName = Literal["monte-carlo", "advantage", "sorm", "omega"]


def label(
    forest: str,
    *,
    model: str,
    scorer: str,
    out: Path,
    method: MethodName = "monte-carlo",
    n: Annotated[int, Parameter(alias="-n")] = 8,
    searches: int = 8,
    max_tokens: int = 256,
    temperature: float = 1.0,
    step: str = "\\n",
    batch: int = 32,
    seed: int = 0,
    engine: EngineName = "local",
    limit: int | None = None,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
) -> None:
    """Label the steps of responses by completing them, and write the forest.

    A second call with the same --out goes on where the first one was stopped.

    For example:

        espalier label runs/samples --model runs/sft/model --scorer arithmetic --method monte-carlo --out runs/labelled

        espalier train process --model runs/sft/model --data runs/labelled --out runs/process

    Args:
        forest: a forest, or rows with responses; omega also takes bare prompts.
        model: who completes; for advantage the prover, which should not be the policy that wrote the responses.
        scorer: says which completions are right: exact, numeric, math, arithmetic, format:REGEX or a model's folder.
        out: folder for the labelled forest, and labels.json with what it cost.
        method: monte-carlo: the share of completions that are right; advantage: and how the step changed it; sorm:
            whether any is and uses what the step came to; omega: binary search for the first error of wrong responses,
            its own and those given.
        n: completions of each prefix.
        searches: for omega, of each prompt.
        max_tokens: longest completion.
        temperature: of the completions.
        step: the string that ends a step.
        batch: trees that are labelled side by side.
        seed: same seed, same labels.
        engine: who completes; vllm must be installed.
        limit: only the first so many trees.
        columns: our column names to the file's, as in prompt=question.
    """
    from espalier.cli.settings import open_engine, open_scorer, parse_columns, unescaped
    from espalier.curation.labels import Completer, label_forest
    from espalier.engines.base import Sampling
    from espalier.report.progress import track
    from espalier.trees import Tree, read, split_steps

    writes, judge = open_engine(engine, model), open_scorer(scorer)
    separator = unescaped(step)

    def decode(ids: list[int]) -> str:  # as the engine writes a text: a special token that was sampled is part of it
        return str(writes.tokenizer.decode(ids, skip_special_tokens=False))

    def split(tree: Tree) -> Tree:
        return split_steps(tree, separator, decode)

    settings = {
        "forest": forest,
        "model": model,
        "scorer": scorer,
        "method": method,
        "n": n,
        "searches": searches,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "step": separator,
        "seed": seed,
    }
    trees = read(forest, columns=parse_columns(columns) if columns else None, tokenizer=writes.tokenizer)
    if limit is not None:
        trees = trees[:limit]
    completer = Completer(writes, judge, n, Sampling(max_tokens, temperature, seed=seed))
    with track("label", len(trees), "trees") as bar:

        def tell(done: int, total: int, spent: Ledger) -> None:
            bar.reach(done, total, note=f"{spent.generated:,} tokens")

        chosen = _method(method, judge.name, searches, separator, decode)
        spent = label_forest(trees, chosen, completer, out, batch=batch, split=split, settings=settings, progress=tell)
    print(f"{len(trees)} trees labelled, {spent.generated:,} tokens generated, {spent.seconds:.1f} s: {out}")


def _method(name: MethodName, by: str, searches: int, step: str, decode: Callable[[list[int]], str]) -> Method:
    from espalier.curation.labels import MonteCarlo, Omega, Sorm

    if name == "sorm":
        return Sorm(by)
    if name == "omega":
        return Omega(by, searches=searches, separator=step, decode=decode)
    return MonteCarlo(by, advantage=name == "advantage")
