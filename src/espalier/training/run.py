"""A run: a folder, a loop, and the promise that nothing finished is lost.

config.toml          everything the run was told, with versions and the seed
metrics.jsonl        a row a step; timings.jsonl beside it holds what depends on the clock
trees/step-N.parquet the rollout of each checkpointed step (online recipes)
trees/reference.parquet the data with the starting policy's log-probs (offline recipes that measure from it)
checkpoints/step-N/  weights, moments; written aside, then renamed
model/               the trained model, an ordinary Hugging Face folder
"""

from __future__ import annotations

import signal
import threading
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model

from espalier.engines.base import Engine
from espalier.errors import ConfigError, TrainingError
from espalier.models import Model
from espalier.models.adapters import lora_layers
from espalier.models.numerics import Setting, resolve_precision, settle_process
from espalier.scorers import Scorer
from espalier.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from espalier.training.config import Training, dump_toml, read_toml
from espalier.training.loop import Loop, make_optimizer
from espalier.training.metrics import Recorder, Watch, read_metrics
from espalier.training.prepare import check_streams, prepare, reference_stream, stored_logprobs
from espalier.training.recipe import Online, Recipe
from espalier.training.reference import Follower, Reference, make_reference
from espalier.training.rollout import Actor, Prompts
from espalier.trees import Forest

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called after each step with the steps done, the total, and the step's metrics; before the first one, while the
reference's log-probs are computed, with 0, the total and {"reference": the share of the trees that are done}."""


@dataclass(frozen=True, slots=True)
class Run:
    """What `train` returns.

    Attributes:
        folder: the run folder.
        model: the trained model, in memory.
        steps: how many steps are done.
        total: how many the run has.
    """

    folder: Path
    model: Model
    steps: int
    total: int

    @property
    def finished(self) -> bool:
        """False where Ctrl-C or SIGTERM stopped it early; `resume=True` goes on."""
        return self.steps == self.total

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return read_metrics(self.folder)


def train(
    recipe: Recipe,
    model: Model,
    forest: Forest,
    training: Training | None = None,
    *,
    out: str | Path | None = None,
    scorer: Scorer | None = None,
    engine: Engine | None = None,
    prompts: Prompts | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Run:
    """Train `model` in place on `forest` as `recipe` says.

    Args:
        recipe: the method, such as `DPO(beta=0.1)`.
        model: trained in place; only weights that require a gradient change.
        forest: what to learn from; for an online recipe, the prompts.
        training: how the loop runs; one epoch by default (100 steps for an online recipe).
        out: the run folder, new or (with `resume`) that of the interrupted run; `runs/<recipe>-<n>` by default.
        scorer: judges the rollouts of an online recipe.
        engine: writes the rollouts; the model itself by default.
        prompts: makes the prompts of an online recipe anew at each step; see `espalier.training.rollout.Prompts`.
        resume: go on from the newest checkpoint; starts afresh where there is none.
        progress: called after each step, and while the reference's log-probs are computed; see `Progress`.
        notes: more tables for config.toml (where model and data came from).

    Raises:
        ConfigError: the folder holds another run, or the run to resume was configured otherwise.
        ContextLengthError: a tree of an offline recipe is longer than the model's context; nothing was trained.
        TrainingError: nothing to learn from, a loss that is not finite, sampler and trainer that disagree.
    """
    online = isinstance(recipe, Online)
    training = training or (Training(steps=100) if online else Training(epochs=1))
    selected = recipe.select(forest)
    if not len(selected):
        raise TrainingError("the forest is empty: there is nothing to learn from")
    settle_process()
    if any(tree.root.children for tree in selected):
        selected = prepare(selected, model)
    folder = Path(out) if out is not None else _next_folder(recipe.key)
    training = _settle_precision(folder, training, model, resume)
    _settle_config(folder, recipe, training, notes or {}, resume)

    if recipe.head and recipe.head not in model.heads:
        torch.manual_seed(training.seed)
        model.add_head(recipe.head, link=recipe.link)
    optimizer = make_optimizer(model, training)
    actor = _actor(model, engine, scorer, prompts, training.precision) if online else None
    total = training.total(len(selected))

    def tell(trees: int, of: int) -> None:
        if progress is not None:
            progress(0, total, {"reference": trees / of})

    follower = Follower(model, *recipe.follows) if recipe.needs_reference and recipe.follows else None
    reference = _reference(folder, recipe, model, follower, selected, training, tell)
    loop = Loop(recipe, model, selected, training, total, optimizer, reference, actor, follower)

    store = folder / "checkpoints"
    done = max(checkpoints(store), default=0) if resume else 0
    if done:
        load_checkpoint(store, done, model, optimizer, follower)
    recorder = Recorder(folder, resume_after=done - 1 if done else None)
    watch = Watch(read_metrics(folder))
    saved = done

    def save(step: int) -> None:
        save_checkpoint(store, step, model, optimizer, training.keep, follower)
        if loop.rolled is not None:
            loop.rolled.write(folder / "trees" / f"step-{step}.parquet")

    with _deterministic(), _interruptible() as interrupted:
        while done < total and not interrupted.is_set():
            started = time.perf_counter()
            metrics = loop.step(done)
            recorder.write(done, metrics, {"seconds": time.perf_counter() - started})
            watch.see({"step": done, **metrics})
            done += 1
            if done % training.checkpoint_every == 0 and done < total:
                save(done)
                saved = done
            if progress is not None:
                progress(done, total, metrics)
        if saved != done:
            save(done)
    model.eval()
    if done == total:
        model.save(folder / "model", kind=recipe.saves)
    return Run(folder, model, done, total)


def _settle_precision(folder: Path, training: Training, model: Model, resume: bool) -> Training:
    """The settings with "auto" made plain, so that config.toml says what was computed with.

    A resume takes what the run began with, also on a machine that would choose otherwise: the numbers go on.
    """
    precision = resolve_precision(training.precision, model)
    path = folder / "config.toml"
    if resume and training.precision == "auto" and path.exists():
        begun = read_toml(path).get("training", {}).get("precision", precision)
        if begun != precision:
            warnings.warn(
                f"{path}: the run began in {begun} and goes on in it, although this machine would choose {precision}: "
                "slower here, and equal to the uninterrupted run only up to rounding",
                stacklevel=3,
            )
        precision = begun
    return training.model_copy(update={"precision": precision})


def _settle_config(folder: Path, recipe: Recipe, training: Training, notes: Mapping[str, Any], resume: bool) -> None:
    """Write config.toml, or check that the one there says the same."""
    settings = {"recipe": {"name": recipe.key, **recipe.model_dump()}, "training": training.model_dump()}
    path = folder / "config.toml"
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            occupied = any(folder.iterdir())
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be a run folder: {error.strerror}; choose another (--out)") from None
        if occupied:
            raise ConfigError(f"{folder}: exists and is no run folder; choose another with --out")
        versions = {name: version(name) for name in ("espalier", "torch", "transformers")}
        path.write_text(dump_toml({**settings, **notes, "versions": versions}))
        return
    if not resume:
        raise ConfigError(f"{folder}: holds a run already; resume it (--resume), or choose another folder with --out")
    there = read_toml(path)
    mine = tomllib.loads(dump_toml(settings))
    for table in ("recipe", "training"):
        for key in sorted(there.get(table, {}).keys() | mine[table].keys()):
            old, new = there.get(table, {}).get(key), mine[table].get(key)
            if old != new:
                raise ConfigError(f"{path}: {table}.{key} is {old!r}, but this run says {new!r}; resume with the same")


def _reference(
    folder: Path,
    recipe: Recipe,
    model: Model,
    follower: Follower | None,
    forest: Forest,
    training: Training,
    tell: Callable[[int, int], None],
) -> Reference:
    """Where the reference's log-probs come from: stored responses have them, new ones need the policy itself."""
    if isinstance(recipe, Online) and recipe.stored_reference is not None:
        check_streams(forest, recipe, recipe.stored_reference)
    if follower is not None:
        return make_reference(model, follower.model, training, recipe.temperature)
    if isinstance(recipe, Online) or not recipe.needs_reference:
        return make_reference(model, _initial_policy(folder, recipe, model), training, recipe.temperature)
    with _deterministic():
        name = reference_stream(recipe, model, forest, training, folder, tell)
    return partial(stored_logprobs, name=name)


def _initial_policy(folder: Path, recipe: Recipe, model: Model) -> Model | None:
    """A frozen copy of the policy that the run started from, kept in the folder so that a resume has the same one."""
    if not recipe.needs_reference or lora_layers(model.hf):
        return None
    path = folder / "reference.safetensors"
    initial = model.copy()
    if path.exists():
        load_model(initial, path)
    else:
        aside = path.with_suffix(".tmp")
        save_model(initial, str(aside))
        aside.replace(path)
    return initial


def _actor(
    model: Model, engine: Engine | None, scorer: Scorer | None, prompts: Prompts | None, precision: Setting
) -> Actor:
    if scorer is None:
        raise ConfigError("an online recipe needs a scorer to judge the rollouts; pass scorer=...")
    if engine is None:
        from espalier.engines.local import LocalEngine

        engine = LocalEngine(model, precision=precision)
    return Actor(engine, scorer, prompts)


def _next_folder(key: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{key}-{number}").exists():
        number += 1
    return folder


@contextmanager
def _deterministic() -> Iterator[None]:
    """Only deterministic kernels, so that a resumed run repeats the same bits."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM end the run after the step in hand, with a checkpoint; a second one ends it at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: object) -> None:
        asked.set()
        for signum, handler in before.items():
            signal.signal(signum, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
