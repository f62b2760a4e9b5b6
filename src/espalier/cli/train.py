"""`espalier train`: any recipe, one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from espalier.errors import ConfigError

if TYPE_CHECKING:
    from espalier.cli.settings import RunSettings
    from espalier.training import Run
    from espalier.trees import Forest

RecipeName = Literal[
    "sft", "reward", "value", "critic", "process", "implicit", "dpo", "oreo", "b-coder", "online-dpo", "grpo", "ppo"
]


def train(
    recipe: RecipeName,
    *,
    out: Path,
    model: str | None = None,
    init: str | None = None,
    data: str | None = None,
    columns: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    held_out: float | None = None,
    scorer: str | None = None,
    config: Path | None = None,
    assign: Annotated[list[str] | None, Parameter(name=["--set"], consume_multiple=True)] = None,
    resume: bool = False,
) -> None:
    """Train a model from feedback.

    For example:

        espalier train dpo --model ./qwen --data pairs.jsonl --out runs/dpo --set recipe.beta=0.1 training.lr=5e-6

        espalier train value --init small.json --data solutions.jsonl --held-out 0.2 --out runs/value
        --columns prompt=question completion=solution label=is_correct

        espalier train online-dpo --model ./qwen --data problems.jsonl --scorer numeric --out runs/online

    Args:
        recipe: the method.
        out: the run folder, new, or with --resume that of the interrupted run.
        model: folder or hub id of the model to start from.
        init: JSON file of a Hugging Face config, for a fresh small model instead.
        data: .jsonl, .csv or .parquet rows, or a forest.
        columns: our column names to the file's, as in prompt=question.
        held_out: share of the prompts to keep out of training; reward and value models are audited on it.
        scorer: judges rollouts: exact, numeric, math, arithmetic, format:REGEX, or a saved scorer's folder.
        config: TOML file with the tables model, data, recipe and training; flags override it.
        assign: key=value settings, as in training.lr=1e-5 or recipe.beta=0.2.
        resume: go on from the newest checkpoint in --out.
    """
    from rich.console import Console

    from espalier.cli.settings import open_scorer
    from espalier.models import load_tokenizer
    from espalier.report.progress import track
    from espalier.training import RECIPES, Online, Reward, Value
    from espalier.training import train as run_training

    flags = {"model": model, "init": init, "data": data, "columns": columns, "held_out": held_out, "scorer": scorer}
    settings = gather(recipe, out, config, flags, assign or [], resume)
    method = RECIPES[recipe](**settings.recipe)
    forest = settings.data.open(load_tokenizer(path) if (path := settings.model.path) else None)
    learn, held = forest.split(settings.data.held_out, settings.training.seed)
    start = settings.model.open(learn, settings.training.seed)
    judge = None
    if isinstance(method, Online):
        if settings.scorer is None:
            raise ConfigError(f"{recipe} learns from its own answers and needs --scorer to judge them")
        judge = open_scorer(settings.scorer)
    with track(f"train {recipe}", settings.training.steps or 0, "steps") as bar:

        def progress(done: int, total: int, metrics: Any) -> None:
            shown = [f"{name} {metrics[name]:.3g}" for name in ("loss", "reward", "pair_accuracy") if name in metrics]
            if "reference" in metrics:
                shown = [f"reference log-probs {metrics['reference']:.0%}"]
            bar.reach(done, total, note=" · ".join(shown))

        run = run_training(
            method,
            start,
            learn,
            settings.training,
            out=out,
            scorer=judge,
            resume=resume,
            progress=progress,
            notes={**settings.model_dump(include={"model", "data"}), **({"scorer": settings.scorer} if judge else {})},
        )
    console = Console()
    if not run.finished:
        console.print(
            f"stopped at step {run.steps} of {run.total}; go on with: espalier train {recipe} --out {out} --resume",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise KeyboardInterrupt
    finish(run, method.by if isinstance(method, Reward | Value) else None, recipe, held, console)


def gather(
    recipe: str, out: Path, config: Path | None, flags: dict[str, Any], assignments: list[str], resume: bool
) -> RunSettings:
    """The settings of a run: the file's, or on resume the run's own, with flags and assignments on top.

    Raises:
        ConfigError: an unknown key anywhere, or no model or data.
    """
    from espalier.cli.settings import RunSettings, parse_columns
    from espalier.training.config import override, read_toml

    own = out / "config.toml"
    if resume and own.exists() and config is None:
        settings = read_toml(own)
        settings.pop("versions", None)
    else:
        settings = read_toml(config) if config else {}
    _check_tables(settings)
    named = settings.setdefault("recipe", {}).pop("name", recipe)
    if named != recipe:
        raise ConfigError(f"{own if resume else config}: recipe.name is {named!r}, but the command says {recipe!r}")
    tables: dict[str, dict[str, Any]] = {
        "model": {"path": flags["model"], "config": flags["init"]},
        "data": {
            "path": flags["data"],
            "columns": parse_columns(flags["columns"]) if flags["columns"] else None,
            "held_out": flags["held_out"],
        },
    }
    for table, given in tables.items():
        settings.setdefault(table, {}).update({key: value for key, value in given.items() if value is not None})
    if flags["scorer"] is not None:
        settings["scorer"] = flags["scorer"]
    settings = override(settings, assignments)
    _check_tables(settings)
    training = settings.setdefault("training", {})
    if "steps" not in training and "epochs" not in training:
        training.update({"steps": 100} if recipe in ("online-dpo", "grpo", "ppo") else {"epochs": 1})
    if "path" not in settings["data"]:
        raise ConfigError("no data: give --data FILE, or data.path in the config")
    return RunSettings(**settings)


def _check_tables(settings: dict[str, Any]) -> None:
    for name in ("model", "data", "recipe", "training"):
        if not isinstance(settings.get(name, {}), dict):
            raise ConfigError(f"{name!r} is a table of settings; set one of them, as in training.lr=1e-5")


def finish(run: Run, by: str | None, recipe: str, held: Forest, console: Any) -> None:
    """Audit a trained scorer on the held-out prompts, write the report, and say where things are."""
    from espalier.cli.audit import scorer_report
    from espalier.report import Report, print_tables, view_run, write_report

    report = Report(title=run.folder.name, summary=f"{recipe}: {run.steps} steps.")
    if by is not None and len(held):
        from espalier.scorers import RewardScorer, ValueScorer
        from espalier.trees import Forest

        judge = ValueScorer(run.model) if recipe == "value" else RewardScorer(run.model)
        scored = judge.score(Forest([tree.copy() for tree in held.merge()]))
        scored.write(run.folder / "trees" / "held_out.parquet")
        report = scorer_report(scored, judge.name, by, run.folder.name)
    write_report(report, run.folder)
    print_tables(report, console)
    console.print(
        f"model:  {run.folder / 'model'}\nreport: {view_run(run.folder)}", markup=False, highlight=False, soft_wrap=True
    )
