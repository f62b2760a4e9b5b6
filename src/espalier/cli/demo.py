"""`espalier demo`: the whole loop on the arithmetic world, on a laptop's processor, in minutes.

A small model learns from worked solutions of which half do the last operations in their head, and it picks up the
habit with the skill. Its own samples, judged by an exact verifier, teach a value model to forecast success; the value
model steers search; reinforcement learning improves the policy; every comparison is paired and has an interval.
Nothing here is special to the demo: each line is the public API.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.cli.verdict import Answers
    from espalier.models import Model
    from espalier.trees import Forest

MODEL: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.05,  # the usual 0.02 is meant for wider models, and learns far more slowly at this width
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything."""

    demonstrations: int = 3000
    sft_steps: int = 1000
    value_problems: int = 2500
    value_steps: int = 600
    rl_steps: int = 100
    rl_prompts: int = 32
    held_out: int = 400
    model: Mapping[str, Any] = field(default_factory=lambda: MODEL)


SMALL = Size(48, 4, 16, 3, 2, 4, 6, {**MODEL, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1})
"""For the tests, which check that it runs and not what comes out."""

SAMPLES = 8
VALUE_SAMPLES = 4
BEAMS = ((1, 2), (2, 2), (4, 2))
"""Width and expansion: as many candidate steps a round as 2, 4 and 8 samples."""
ANSWER_TOKENS, STEP_TOKENS = 90, 24


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
    import torch
    from rich.console import Console

    from espalier.cli.verdict import verdict
    from espalier.report import print_tables, view_run, write_report
    from espalier.scorers import TokenView
    from espalier.trees import Forest

    torch.set_num_threads(
        1
    )  # two that wait for each other are hardly faster on a model this small, and far less steady
    started = time.perf_counter()
    show = Demo(out, seed, SMALL if small else Size())
    policy = show.learn_from_demonstrations()
    value = show.learn_values(policy)
    before = show.answer(policy, value, "start")
    improved = show.reinforce(policy)
    after = show.answer(improved, value, "RL")
    report = verdict(before, after, f"{seed}", time.perf_counter() - started)
    TokenView(value).score(Forest([shown.tree for shown in report.trees]))
    write_report(report, out)
    page = view_run(out)
    console = Console()
    print_tables(report, console)
    console.print(f"\nreport: {page}   ({time.perf_counter() - started:.0f} s)", markup=False, highlight=False)


class Demo:
    """The phases of the demo."""

    def __init__(self, out: Path, seed: int, size: Size) -> None:
        from espalier.engines import Sampling
        from espalier.worlds.arithmetic import Arithmetic, ArithmeticVerifier

        self.out, self.seed, self.size = out, seed, size
        self.world = Arithmetic(levels=(3, 4, 5), largest=9, operators="+-")
        self.verifier = ArithmeticVerifier()
        self.sampling = Sampling(max_tokens=ANSWER_TOKENS, seed=seed)
        self.held_out = self.world.problems(size.held_out, "held_out", seed=100 + seed)

    def learn_from_demonstrations(self) -> Model:
        """A policy that is right less than half the time, from a limited number of solutions, half of them hasty."""
        from espalier.models import from_config, train_tokenizer
        from espalier.training import SFT, Training
        from espalier.worlds.arithmetic import ALPHABET

        tokenizer = train_tokenizer([ALPHABET], kind="char")
        model = from_config(dict(self.size.model), tokenizer, seed=self.seed)
        forest = self.world.demonstrations(self.size.demonstrations, seed=self.seed, skip=0.5)
        training = Training(steps=self.size.sft_steps, batch_size=32, lr=3e-3, **self.common())
        return self.train("1-sft", SFT(), model, forest, training)

    def learn_values(self, policy: Model) -> Model:
        """A value model: from the policy's answers to other problems, without solutions, what comes out right?"""
        from espalier.training import Training, Value

        folder = self.out / "2-value"
        if not (folder / "model").exists():
            problems = self.world.problems(self.size.value_problems, seed=1000 + self.seed)
            forest = self.grow("sample trees to learn values from", problems, policy, VALUE_SAMPLES).forest
            self.verifier.score(forest)
            forest.write(self.out / "trees" / "1-samples.parquet")
        else:
            forest = self.held_out  # not looked at: the finished run is loaded
        training = Training(steps=self.size.value_steps, batch_size=16, lr=1e-3, **self.common())
        return self.train("2-value", Value(by="correct"), policy.copy().requires_grad_(True), forest, training)

    def reinforce(self, policy: Model) -> Model:
        """The policy, improved on problems that come with a verifier and without solutions."""
        from espalier.training import GRPO, Training

        problems = self.world.problems(self.size.rl_steps * self.size.rl_prompts, seed=2000 + self.seed)
        training = Training(
            steps=self.size.rl_steps,
            batch_size=self.size.rl_prompts,
            lr=3e-4,
            **{**self.common(), "schedule": "constant"},
        )
        recipe = GRPO(n=SAMPLES, max_tokens=ANSWER_TOKENS)
        start = policy.copy().requires_grad_(True)
        return self.train("3-grpo", recipe, start, problems, training, self.verifier)

    def answer(self, policy: Model, value: Model, name: str) -> Answers:
        """Every strategy on the held-out problems: greedy, votes over samples, and beams that the values steer."""
        from espalier.cli.verdict import Answers
        from espalier.engines import LocalEngine
        from espalier.scorers import ValueScorer
        from espalier.search import Greedy, StepBeam
        from espalier.worlds.arithmetic import final_answer

        scorer = ValueScorer(value)
        with self.progress(f"{name}: greedy", self.held_out) as progress:
            greedy = Greedy(ANSWER_TOKENS, batch=100, progress=progress)
            answers = [greedy.search(self.held_out.prompts(), LocalEngine(policy))]
        sampled = self.grow(f"{name}: {SAMPLES} samples", self.held_out.prompts(), policy, SAMPLES)
        before = scorer.spent
        scorer.score(sampled.forest)
        scoring = scorer.spent - before
        for width, expand in BEAMS:
            with self.progress(f"{name}: beam {width}x{expand}", self.held_out) as progress:
                steps = replace(self.sampling, max_tokens=STEP_TOKENS)
                beam = StepBeam(width, expand, steps, vote=final_answer, batch=100, progress=progress)
                answers.append(beam.search(self.held_out.prompts(), LocalEngine(policy), scorer))
        for found in (*answers, sampled):
            self.verifier.score(found.forest)
        sampled.forest.write(self.out / "trees" / f"2-{name}-samples.parquet")
        answers[-1].forest.write(self.out / "trees" / f"3-{name}-beam.parquet")
        return Answers(name, answers[0], sampled, scoring, answers[1:])

    def common(self) -> dict[str, Any]:
        """What all runs share."""
        return {"micro_tokens": 16384, "weight_decay": 0.01, "seed": self.seed}

    def train(self, name: str, recipe: Any, model: Model, forest: Forest, training: Any, scorer: Any = None) -> Model:
        """One run in a folder of its own; a finished one is loaded, an interrupted one goes on."""
        from espalier.models import load
        from espalier.report import track
        from espalier.training import train

        folder = self.out / name
        if (folder / "model").exists():
            return load(folder / "model")
        with track(f"{name[2:]}: train", training.steps, "steps") as bar:

            def progress(done: int, total: int, metrics: Mapping[str, float]) -> None:
                shown = next(metric for metric in ("reward", "nll", "value_bce") if metric in metrics)
                bar.reach(done, note=f"{shown} {metrics[shown]:.3f}")

            run = train(recipe, model, forest, training, out=folder, scorer=scorer, resume=True, progress=progress)
        if not run.finished:
            raise KeyboardInterrupt
        return run.model

    def grow(self, what: str, problems: Forest, policy: Model, n: int) -> Any:
        """`n` sampled answers to each problem."""
        from espalier.engines import LocalEngine
        from espalier.search import Sample

        with self.progress(what, problems) as progress:
            return Sample(n, self.sampling, batch=200, progress=progress).search(problems, LocalEngine(policy))

    @contextmanager
    def progress(self, what: str, problems: Forest) -> Iterator[Any]:
        """A bar that a strategy can drive."""
        from espalier.report import track

        with track(what, len(problems), "problems") as bar:
            yield bar.reach
