"""`espalier demo`: the whole loop on the arithmetic world, on a laptop's processor, in minutes.

A small model learns from few worked solutions; its own samples, judged by an exact verifier, teach a value model; the
value model steers search; reinforcement learning improves the policy; and every comparison is paired and has an
interval. Nothing here is special to the demo: each line of it is the public API.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.audit import Interval
    from espalier.models import Model
    from espalier.report import Curve, Report
    from espalier.search import Choose, Found
    from espalier.trees import Forest, Node

MODEL = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; `SMALL` is for the tests, which check that it runs and not what comes out."""

    demonstrations: int = 3000
    sft_steps: int = 400
    value_problems: int = 3000
    value_steps: int = 400
    rl_steps: int = 40
    rl_prompts: int = 32
    held_out: int = 400
    model: Mapping[str, Any] | None = None


FULL = Size()
SMALL = Size(48, 4, 16, 3, 2, 4, 12, {**MODEL, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1})
SAMPLES = 8
STEP_TOKENS, ANSWER_TOKENS = 24, 96


def demo(*, out: Path = Path("runs/demo"), seed: int = 0, small: bool = False) -> None:
    """Run the whole loop on the arithmetic world: train, search, improve, audit, report.

    Interrupted, it goes on where it was when it is started again.

    For example:

        espalier demo --out runs/demo

    Args:
        out: the folder for runs, trees and report.html.
        seed: of everything.
        small: a few seconds' worth, to see that it runs.
    """
    from rich.console import Console

    from espalier.report import print_tables, view_run
    from espalier.report.build import write_report

    console = Console()
    started = time.perf_counter()
    report = Demo(out, seed, SMALL if small else FULL, console).run()
    report = replace(report, facts={**report.facts, "wall time": f"{time.perf_counter() - started:.0f} s"})
    write_report(report, out)
    page = view_run(out)
    print_tables(report, console)
    console.print(f"\nreport: {page}   ({time.perf_counter() - started:.0f} s)", highlight=False, soft_wrap=True)


class Demo:
    """The phases of the demo, in order."""

    def __init__(self, out: Path, seed: int, size: Size, console: Any) -> None:
        from espalier.engines.base import Sampling
        from espalier.worlds.arithmetic import Arithmetic, ArithmeticVerifier

        self.out, self.seed, self.size, self.console = out, seed, size, console
        self.world = Arithmetic(levels=(2, 3, 4), largest=49)
        self.verifier = ArithmeticVerifier()
        self.sampling = Sampling(max_tokens=ANSWER_TOKENS, seed=seed)
        self.held_out = self.world.problems(size.held_out, "held_out", seed)

    def run(self) -> Report:
        """All phases, and what they found."""
        policy = self.learn_from_demonstrations()
        value = self.learn_values(policy)
        before = self.answer(policy, value, "")
        improved = self.reinforce(policy)
        after = self.answer(improved, value, "RL ")
        return self.report(before, after)

    def learn_from_demonstrations(self) -> Model:
        """A policy that is right about half the time."""
        from espalier.models import from_config, train_tokenizer
        from espalier.training import SFT, Training
        from espalier.worlds.arithmetic import ALPHABET

        tokenizer = train_tokenizer([ALPHABET], kind="char")
        model = from_config(dict(self.size.model or MODEL), tokenizer, seed=self.seed)
        training = Training(steps=self.size.sft_steps, batch_size=64, micro_tokens=8192, lr=2e-3, seed=self.seed)
        return self.train("1-sft", SFT(), model, self.world.demonstrations(self.size.demonstrations), training)

    def learn_values(self, policy: Model) -> Model:
        """A value model: from the policy's own answers to other problems, what will come out right?"""
        from espalier.training import Training, Value

        forest = self.grow("sample trees for the value model", self.train_problems(1, self.size.value_problems), policy)
        self.verifier.score(forest)
        forest.write(self.out / "trees" / "1-samples.parquet")
        training = Training(steps=self.size.value_steps, batch_size=16, micro_tokens=8192, lr=1e-3, seed=self.seed)
        return self.train("2-value", Value(by="correct"), policy.copy().requires_grad_(True), forest, training)

    def reinforce(self, policy: Model) -> Model:
        """The policy, improved on problems that come with a verifier and no solution."""
        from espalier.training import GRPO, Training

        problems = self.train_problems(2, 20 * self.size.rl_prompts)
        recipe = GRPO(n=SAMPLES, max_tokens=ANSWER_TOKENS)
        training = Training(
            steps=self.size.rl_steps, batch_size=self.size.rl_prompts, micro_tokens=8192, lr=3e-4, seed=self.seed
        )
        return self.train("3-grpo", recipe, policy.copy().requires_grad_(True), problems, training, self.verifier)

    def train_problems(self, part: int, count: int) -> Forest:
        """Training problems without solutions, other ones for each part."""
        return self.world.problems(count, "train", 1000 * part + self.seed + 1)

    def train(
        self, name: str, recipe: Any, model: Model, forest: Forest, training: Any, scorer: Any = None
    ) -> Model:
        """One run in a folder of its own; a finished one is loaded, an interrupted one goes on."""
        from espalier.models import load
        from espalier.report import track
        from espalier.training import train

        folder = self.out / name
        if (folder / "model").exists():
            return load(folder / "model")
        with track(f"{name[2:]}: train", training.steps, "steps") as bar:

            def progress(done: int, total: int, metrics: Mapping[str, float]) -> None:
                shown = next(n for n in ("reward", "nll", "value_bce") if n in metrics)
                bar.advance(note=f"{shown} {metrics[shown]:.3f}")

            run = train(recipe, model, forest, training, out=folder, scorer=scorer, resume=True, progress=progress)
        if not run.finished:
            raise KeyboardInterrupt
        return run.model

    def grow(self, what: str, problems: Forest, policy: Model) -> Forest:
        """`SAMPLES` answers to each problem."""
        from espalier.engines.local import LocalEngine
        from espalier.search import Sample

        with self.progress(what, problems) as progress:
            return Sample(SAMPLES, self.sampling, batch=64, progress=progress).search(problems, LocalEngine(policy)).forest

    def answer(self, policy: Model, value: Model, name: str) -> Answers:
        """Every strategy on the held-out problems: greedy, votes and best-of-n on one sampled forest, and beams."""
        from espalier.engines.local import LocalEngine
        from espalier.scorers import ValueScorer
        from espalier.search import Found, Greedy, StepBeam, best, majority, prefixes, weighted
        from espalier.worlds.arithmetic import final_answer

        engine, scorer = LocalEngine(policy), ValueScorer(value)
        with self.progress(f"{name}greedy", self.held_out) as progress:
            greedy = Greedy(ANSWER_TOKENS, batch=64, progress=progress).search(self.held_out.prompts(), engine)
        found = {f"{name}greedy": greedy}
        before = engine.spent
        sampled = self.grow(f"{name}sample {SAMPLES}", self.held_out.prompts(), policy, engine)
        cost = engine.spent - before
        before = scorer.spent
        scorer.score(sampled)
        scoring = scorer.spent - before
        choices: dict[str, tuple[Choose, Any]] = {
            "majority": (lambda leaves: majority(leaves, final_answer), cost),
            "best by value": (lambda leaves: best(leaves, "value"), cost + scoring),
            "value-weighted vote": (lambda leaves: weighted(leaves, final_answer, "value"), cost + scoring),
        }
        self.verifier.score(sampled)
        curves = []
        for label, (choose, spent) in choices.items():
            points = prefixes(sampled, choose, KS)
            curves.append((label, [(point.answers, sum(point.generated)) for point in points], sampled))
            found[f"{name}{label} @{SAMPLES}"] = Found(sampled, points[-1].answers, spent, [])
        beams = []
        for width, expand in BEAMS:
            beam = StepBeam(width, expand, replace(self.sampling, max_tokens=STEP_TOKENS), vote=final_answer, batch=64)
            with self.progress(f"{name}beam {width}x{expand}", self.held_out) as progress:
                beams.append(replace_progress(beam, progress).search(self.held_out.prompts(), engine, scorer))
        found[f"{name}value-guided beam"] = beams[-1]
        for result in (greedy, *beams):
            self.verifier.score(result.forest)
        return Answers(name, found, sampled, curves, beams)
