"""`espalier search`: one strategy, or several against each other at several budgets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from espalier.cli.forests import Columns, EngineName, open_prompts
from espalier.errors import ConfigError

if TYPE_CHECKING:
    from espalier.cli.strategies import Settings
    from espalier.engines import Engine, LocalEngine, VLLMEngine
    from espalier.models import Model
    from espalier.search import Found, Strategy
    from espalier.trees import Forest, Prices

Numbers = Annotated[list[int] | None, Parameter(consume_multiple=True)]


def search(
    *,
    model: str,
    data: str,
    out: Path,
    strategy: str = "weighted",
    compare: str | None = None,
    budgets: Numbers = None,
    scorer: str | None = None,
    verifier: str | None = None,
    n: Annotated[int, Parameter(alias="-n")] = 8,
    width: int | None = None,
    max_tokens: int = 256,
    step_tokens: int | None = None,
    temperature: float = 1.0,
    step: str = "\\n",
    tokens: int | None = None,
    seconds: float | None = None,
    money: float | None = None,
    prices: str | None = None,
    seed: int = 0,
    engine: EngineName = "local",
    limit: int | None = None,
    columns: Columns = None,
) -> None:
    """Search for answers with a scorer's help; write the forest, and print accuracy and cost.

    With --compare, strategies are run within several budgets; accuracy against compute, what a right answer costs, and
    which strategy to take at each budget are printed and drawn (OUT/report.html).

    For example:

        espalier search --model runs/sft/model --scorer runs/value/model --strategy beam --data problems.jsonl
        --verifier numeric --out runs/beam

        espalier search --model runs/sft/model --scorer runs/value/model --compare majority,weighted,beam
        --budgets 100 200 400 --data problems.jsonl --verifier numeric --out runs/compared

    Args:
        model: folder or hub id of the policy.
        data: prompts, with reference answers in the column answer where a verifier is to judge.
        out: folder for the grown forest, or for the comparison.
        strategy: how to spend the tokens; docs/search.md has the names.
        compare: strategies to compare, with commas between.
        budgets: for --compare, generated tokens a problem.
        scorer: guides the strategies; greedy, majority, adaptive and token-beam need none. As for score, or how
            certain the policy is itself: self-certainty, entropy or likelihood.
        verifier: says which answers are right; --compare needs one.
        n: samples (by steps: candidate steps a round, particles, or descents).
        width: beams that live on.
        max_tokens: longest response.
        step_tokens: longest step; as max-tokens by default.
        temperature: of the samples.
        step: the string that ends a step.
        tokens: the most generated tokens of a problem.
        seconds: the most seconds of the whole search.
        money: the most money of the whole search.
        prices: of a million tokens generated, prefilled and scored, as in 8,2,0.5.
        seed: same seed, same search.
        engine: who writes; vllm must be installed.
        limit: only the first so many prompts.
        columns: our column names to the file's, as in prompt=question.
    """
    from espalier.cli.settings import open_engine, open_scorer, unescaped
    from espalier.cli.strategies import Settings, check_scorer, make
    from espalier.engines.base import Sampling
    from espalier.engines.local import LocalEngine
    from espalier.models import load
    from espalier.report import Report, print_tables, row, track
    from espalier.scorers import RewardScorer
    from espalier.search import Budget, Limits, final_answer
    from espalier.trees import Prices

    names = compare.split(",") if compare else [strategy]
    certain = scorer if scorer in CERTAINTIES else None
    judge = open_scorer(scorer) if scorer and not certain else None
    check_scorer(names, scorer)
    by = certain or (judge.name if judge is not None else "value")
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed)
    # A reward may be negative, as all certainties but one; such scores weigh no vote.
    vote = None if isinstance(judge, RewardScorer) or certain else final_answer
    of = Settings(n, sampling, step_tokens or max_tokens, unescaped(step), width, by, vote)
    for name in names:
        make(name, of)
    cost = _prices(prices)
    writes = open_engine(engine, model)
    if certain:
        judge = _certainty(certain, writes.model if isinstance(writes, LocalEngine) else load(model))
    prompts = open_prompts(data, columns, limit, writes.tokenizer).load()
    if compare:
        if not budgets or verifier is None:
            raise ConfigError("--compare needs --budgets (generated tokens a problem) and --verifier")
        compared(names, budgets, of, writes, prompts, judge, open_scorer(verifier), cost, out)
        return
    budget = Budget(Limits(generated=tokens), Limits(seconds=seconds, money=money), cost or Prices())
    with track(strategy, len(prompts), "prompts") as bar:
        chosen = make(strategy, replace(of, progress=bar.reach))
        found = chosen.search(prompts, writes, judge, budget)
    mark(found, strategy)
    if verifier:
        open_scorer(verifier).score(found.forest)
    found.forest.write(out)
    if verifier:
        print_tables(Report(title=strategy, rows=[row(strategy, found)]))
    spent = found.ledger
    price = "" if cost is None else f"{spent.money(cost):.4g} in money, "
    cut = f"; the budget ended {sum(found.cut)} of {len(found.cut)} searches early" if any(found.cut) else ""
    print(
        f"{spent.generated:,} tokens generated, {spent.prefilled:,} prefilled, {spent.scored:,} scored, {price}"
        f"{spent.seconds:.1f} s: {out}{cut}"
    )


def compared(
    names: list[str],
    budgets: list[int],
    of: Settings,
    writes: LocalEngine | VLLMEngine,
    prompts: Forest,
    judge: Any,
    verifier: Any,
    prices: Prices | None,
    out: Path,
) -> None:
    """Run the comparison; write it, the page, and the forest of each pick; print the tables."""
    from espalier.audit.search import compare_strategies
    from espalier.cli.comparison import comparison_report, cost_table
    from espalier.cli.strategies import make
    from espalier.report import print_tables, track, view_run, write_report
    from espalier.search import Greedy

    def forgetful() -> Engine:
        writes.forget()
        return writes

    with track("compare", len(names) * len(budgets), "searches") as bar:
        # How long a response is says how many samples fit a budget.
        greedy = Greedy(of.sampling.max_tokens, batch=TOGETHER).search(prompts.prompts(), writes)
        length = max(1, greedy.ledger.generated // len(prompts))
        done = iter(range(len(names) * len(budgets)))

        def sized(name: str) -> Callable[[int], Strategy]:
            return lambda budget: make(name, replace(of, size=filled(name, budget, length), batch=TOGETHER))

        found = compare_strategies(
            {name: sized(name) for name in names},
            budgets,
            prompts,
            forgetful,
            judge,
            verifier,
            prices=prices,
            progress=lambda name, budget: bar.reach(next(done), note=f"{name} at {budget}"),
        )
        bar.reach(len(names) * len(budgets))
    report = comparison_report(found, prices)
    write_report(report, out)
    (out / "comparison.json").write_text(json.dumps(found.to_dict(), indent=1), encoding="utf-8")
    for pick in found.picks:
        best = found.found[pick.strategy, pick.budget]
        mark(best, pick.strategy)
        best.forest.write(out / "trees" / f"{pick.budget}-{pick.strategy}.parquet")
    page = view_run(out)
    print_tables(report)
    from rich.console import Console

    console = Console()
    console.print()
    console.print(cost_table(found, prices))
    for pick in found.picks:
        console.print(str(pick), markup=False, highlight=False)
    console.print(f"\nreport: {page}", markup=False, highlight=False)


TOGETHER = 128
"""Problems searched together: within a budget each asks for a branch or two at a time, and a call should hold more."""

OPEN_ENDED = ("majority", "best-of-n", "weighted", "borda", "adaptive", "mcts", "tree", "tree-greedy")
"""These can go on for as long as there are tokens; the others must be made for a size."""


def filled(name: str, budget: int, length: int) -> int:
    """The size that fills a budget when a response has about `length` tokens; those that can go on ask for more."""
    return max(1, budget // length) * (4 if name in OPEN_ENDED else 1)


CERTAINTIES = ("self-certainty", "entropy", "likelihood")
"""Scorers that are made of the policy."""


def _certainty(name: str, policy: Model) -> Any:
    from espalier.scorers import Entropy, Likelihood, SelfCertainty

    if name == "self-certainty":
        return SelfCertainty(policy, name)
    return Entropy(policy, name) if name == "entropy" else Likelihood(policy, name)


def mark(found: Found, strategy: str) -> None:
    """Write on the trees what was chosen, and by whom."""
    for tree, answer in zip(found.forest, found.answers, strict=True):
        if answer is not None:
            answer.meta["chosen"] = strategy
        tree.meta["strategy"] = strategy


def _prices(text: str | None) -> Prices | None:
    from espalier.trees import Prices

    if text is None:
        return None
    try:
        return Prices(*map(float, text.split(",")))
    except (TypeError, ValueError):
        raise ConfigError(f"--prices {text!r}: write up to three numbers, as in 8,2,0.5") from None
