"""From a seed to a table: can step labels that a policy makes for itself find errors, and guide a search?

    python -m examples.guided_search --out runs/guided --seeds 0 1

The policy is that of `espalier demo`. From then on it gets harder problems, and only final answers are checked.

1. Monte-Carlo labels: how often does "some completion of this step comes out right" say what the exact checker says?
2. A process model learns the labels, an outcome model the answers of the same responses. Which finds the first error?
   Each threshold is chosen on development problems. "Chance" is a score that is noise, with a threshold of its own.
3. Search guided by the process model against a vote over plain samples weighted by it. The vote has 4, 8 and 16 whole
   samples; the search may spend on each problem what these cost on average, and so never generates more than they do.

The vote's temperature, the strategy and its temperature are those with the best mean accuracy over the three budgets on
the first seed's development problems; all that was tried is printed. What is not here: a price of scored tokens, of
which the search has more; and the tokens of the labels, which the outcome model does without.
Interrupted, the study goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from espalier.audit import paired, proportion
from espalier.audit.first_error import best_threshold, f1_gain, first_errors
from espalier.cli import demo
from espalier.curation.labels import Completer, MonteCarlo, label_forest
from espalier.engines import LocalEngine, Sampling
from espalier.errors import AuditError
from espalier.models import Model, from_config, load, train_tokenizer
from espalier.scorers import ValueScorer
from espalier.search import (
    MCTS,
    Budget,
    DiverseTreeSearch,
    Limits,
    ParticleFilter,
    Sample,
    StepBeam,
    Strategy,
    TreeSampling,
    prefixes,
    weighted,
)
from espalier.search.potentials import chance
from espalier.training import SFT, Process, Training, Value, train
from espalier.training.recipe import Recipe
from espalier.trees import Forest, Node, Score, Tree, open_forest, split_steps
from espalier.worlds.arithmetic import ALPHABET, Arithmetic, ArithmeticStepVerifier, ArithmeticVerifier, final_answer

LEVELS, HARD = (3, 4, 5), (5,)
"""What the policy learns from, and its hardest problems, which it is given then."""
SAMPLES = (4, 8, 16)
"""The budgets: what so many plain samples cost."""
TOKENS, STEP_TOKENS = 90, 12
TEMPERATURES = (0.6, 1.0)
"""Both sides may choose."""

Result = dict[str, Any]
"""Of one search: for each problem whether its answer was "right", and the tokens "generated" for one on average."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; problems, where nothing else is said."""

    demonstrations: int = 3000
    sft_steps: int = 1000
    labelled: int = 600
    completions: int = 8
    steps: int = 400
    development: int = 100
    held_out: int = 400
    model: Mapping[str, Any] = field(default_factory=lambda: demo.MODEL)


SMALL = Size(48, 4, 4, 2, 3, 6, 6, demo.SMALL.model)
"""To see that it runs."""


def candidates(samples: int, draw: Sampling) -> dict[str, Strategy]:
    """The searches that were tried, at the size that so many samples pay for.

    Solutions that a search finds are longer than the policy's, which end early where it guesses: so three candidate
    steps a round for every four samples.
    """
    given: dict[str, Any] = {"vote": final_answer, "batch": 200}
    beams = max(1, samples // 4)
    return {
        "beam": StepBeam(beams, 3, draw, **given),
        "diverse, 2": DiverseTreeSearch(1, 2, draw, repeats=samples, **given),
        "diverse, 3": DiverseTreeSearch(1, 3, draw, repeats=samples, **given),
        "particles": ParticleFilter(3 * beams, draw, potential=chance, **given),
        "mcts": MCTS(10 * samples, 3, draw, exploration=0.3, **given),
        "tree": TreeSampling(8 * samples, draw, temperature=0.2, **given),
    }


class Study:
    """One seed: models, each in a folder of its own, and what is measured with them."""

    def __init__(self, out: Path, seed: int, size: Size) -> None:
        self.folder, self.seed, self.size = out / f"seed-{seed}", seed, size
        self.easy, self.hard = (Arithmetic(levels, largest=9, operators="+-") for levels in (LEVELS, HARD))
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- what is learned

    @cached_property
    def policy(self) -> Model:
        """From a limited number of solutions, half of them hasty."""

        def fresh() -> Model:
            return from_config(dict(self.size.model), train_tokenizer([ALPHABET], kind="char"), seed=self.seed)

        def solutions() -> Forest:
            return self.easy.demonstrations(self.size.demonstrations, seed=self.seed, skip=0.5)

        return self.learned("policy", SFT(), fresh, solutions, steps=self.size.sft_steps, batch_size=32, lr=3e-3)

    @cached_property
    def process(self) -> Model:
        return self.learned(
            "process", Process(), self.start, self.labels, steps=self.size.steps, batch_size=16, lr=1e-3
        )

    @cached_property
    def outcome(self) -> Model:
        recipe = Value(by="correct")
        return self.learned("outcome", recipe, self.start, self.labels, steps=self.size.steps, batch_size=16, lr=1e-3)

    @cached_property
    def scorer(self) -> ValueScorer:
        return ValueScorer(self.process)

    def start(self) -> Model:
        return self.policy.copy().requires_grad_(True)

    def learned(
        self, name: str, recipe: Recipe, start: Callable[[], Model], data: Callable[[], Forest], **training: Any
    ) -> Model:
        """One run in a folder; a finished one is loaded, an interrupted one goes on."""
        folder = self.folder / name
        if not (folder / "model").exists():
            settings = Training(micro_tokens=16384, weight_decay=0.01, seed=self.seed, **training)
            if not train(recipe, start(), data(), settings, out=folder, resume=True).finished:
                raise KeyboardInterrupt
            said(f"seed {self.seed}: {name} learned")
        return load(folder / "model")

    # --- what is sampled

    def problems(self, what: str) -> Forest:
        """Three sets that share nothing: to be labelled, for development, held out."""
        count = {"labelled": self.size.labelled, "development": self.size.development, "held_out": self.size.held_out}
        base = {"labelled": 1000, "development": 2000, "held_out": 3000}[what]
        return self.hard.problems(count[what], "held_out" if what == "held_out" else "train", seed=base + self.seed)

    def sampled(self, problems: Forest, n: int, temperature: float = 1.0) -> Forest:
        sampling = Sampling(TOKENS, temperature, seed=self.seed)
        return Sample(n, sampling, batch=200).search(problems, LocalEngine(self.policy)).forest

    def in_steps(self, tree: Tree) -> Tree:
        return split_steps(tree, decode=lambda ids: str(self.policy.tokenizer.decode(ids, skip_special_tokens=False)))

    def labels(self) -> Forest:
        """Two responses to each problem, with the share of completions that are right on every step."""
        samples = self.folder / "samples.parquet"
        if not samples.exists():
            self.sampled(self.problems("labelled"), 2).write(samples)
        sampling = Sampling(TOKENS, seed=self.seed + 1)
        completer = Completer(LocalEngine(self.policy), ArithmeticVerifier(), self.size.completions, sampling)
        out = self.folder / "labels"
        label_forest(open_forest(samples), MonteCarlo("correct"), completer, out, batch=60, split=self.in_steps)
        return open_forest(out).load()

    # --- what is measured

    def agreement(self) -> dict[str, str]:
        """How often a label above 0 stands on a right step, and 0 on a wrong one."""
        labelled = ArithmeticStepVerifier().score(self.labels())
        steps = [
            (number, node.value("label") or 0.0, node.value("step") == 1, node.is_leaf)
            for number, tree in enumerate(labelled)
            for node in tree.walk()
            if node is not tree.root
        ]
        problem, label, right, last = (np.array(column) for column in zip(*steps, strict=True))
        agree = (label > 0) == right
        parts = {"steps": right | True, "right steps": right, "wrong steps": ~right, "steps with completions": ~last}
        return {
            f"labels agree, {name} ({part.sum():,})": str(proportion(agree[part], problem[part]))
            for name, part in parts.items()
            if part.any()
        }

    def first_errors(self) -> dict[str, str]:
        """F1 of both models and of chance on held-out responses, and how far the process model is ahead."""
        parts = {}
        for what, n in (("development", 4), ("held_out", 2)):
            forest = Forest([self.in_steps(tree) for tree in self.sampled(self.problems(what), n)])
            ArithmeticStepVerifier().score(forest)
            ValueScorer(self.process, "process").score(forest)
            ValueScorer(self.outcome, "outcome").score(forest)
            rng = np.random.default_rng(self.seed)
            for node in forest.nodes():
                node.scores["chance"] = Score(rng.random())
            parts[what] = forest
        names = ("process", "outcome", "chance")
        at = {name: best_threshold(parts["development"], name) for name in names}
        test = parts["held_out"]
        try:
            found = {f"F1, {name} at {at[name]:.3f}": str(first_errors(test, name, at=at[name]).f1) for name in names}
            for other in names[1:]:
                found[f"F1, process - {other}"] = str(f1_gain(test, other, "process", at=(at[other], at["process"])))
        except AuditError as error:  # a policy that is never right, as after a few steps
            return {"F1": str(error)}
        return found

    def vote(self, what: str, temperature: float) -> dict[int, Result]:
        """Weighted votes over the first of the samples; what they generated is what the search may."""

        def run() -> dict[int, Result]:
            forest = self.sampled(self.problems(what), max(SAMPLES), temperature)
            self.scorer.score(forest)
            ArithmeticVerifier().score(forest)
            found = prefixes(forest, lambda leaves: weighted(leaves, final_answer, "value"), SAMPLES)
            one = {"one": float(np.mean([leaf.value("correct") or 0.0 for leaf in forest.leaves()]))}
            return {each.k: result(forest, each.answers, sum(each.generated)) | one for each in found}

        kept = self.kept(f"{what}-vote-{temperature}", run)
        return {int(k): of for k, of in kept.items()}

    def search(self, what: str, name: str, temperature: float, samples: int, limit: int) -> Result:
        """One strategy within a number of generated tokens a problem."""

        def run() -> Result:
            strategy = candidates(samples, Sampling(STEP_TOKENS, temperature, seed=self.seed))[name]
            budget = Budget(tree=Limits(generated=limit))
            found = strategy.search(self.problems(what), LocalEngine(self.policy), self.scorer, budget)
            ArithmeticVerifier().score(found.forest)
            return result(found.forest, found.answers, found.ledger.generated)

        return self.kept(f"{what}-{name}-{temperature}-{samples}-within-{limit}", run)

    def kept(self, name: str, run: Callable[[], Any]) -> Any:
        """What a search gave, from its file where it ran before."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(run()))
            said(f"seed {self.seed}: {name}")
        return json.loads(path.read_text())


def result(forest: Forest, answers: Sequence[Node | None], generated: int) -> Result:
    """No answer, and one that was cut, is a wrong answer."""
    right = {
        tree.id: float(answer is not None and answer.value("correct") == 1)
        for tree, answer in zip(forest, answers, strict=True)
    }
    return {"right": right, "generated": generated / len(forest)}


def choose(study: Study) -> tuple[float, str, float]:
    """The vote's temperature, the strategy and its own, by mean accuracy over the budgets on development problems."""
    votes = {temperature: study.vote("development", temperature) for temperature in TEMPERATURES}
    for temperature, vote in votes.items():
        print(f"development: vote at {temperature}:", *map(shown, vote.values()), sep="  ")
    plain = max(votes, key=lambda temperature: hits(votes[temperature].values()))
    searches: dict[tuple[str, float], list[Result]] = {}
    for temperature in TEMPERATURES:
        for name in candidates(min(SAMPLES), Sampling()):
            searches[name, temperature] = [
                study.search("development", name, temperature, samples, int(vote["generated"]))
                for samples, vote in votes[plain].items()
            ]
            print(f"development: {name} at {temperature}:", *map(shown, searches[name, temperature]), sep="  ")
    guided = max(searches, key=lambda key: hits(searches[key]))
    print(f"chosen: vote at {plain}, {guided[0]} at {guided[1]}", flush=True)
    return plain, *guided


def hits(results: Iterable[Result]) -> float:
    return sum(sum(found["right"].values()) for found in results)


def shown(found: Result) -> str:
    return f"{np.mean(list(found['right'].values())):.3f} for {found['generated']:.0f} tokens"


def report(studies: Sequence[Study]) -> None:
    """The tables of each seed, and the searches of all seeds together; the first seed's development problems choose."""
    plain, name, temperature = choose(studies[0])
    together: dict[int, tuple[dict[str, float], dict[str, float]]] = {samples: ({}, {}) for samples in SAMPLES}
    for study in studies:
        for line, interval in (study.agreement() | study.first_errors()).items():
            print(f"seed {study.seed}: {line}: {interval}", flush=True)
        for samples, vote in study.vote("held_out", plain).items():
            guided = study.search("held_out", name, temperature, samples, int(vote["generated"]))
            print(f"seed {study.seed}: {samples} samples: vote {shown(vote)}, search {shown(guided)}")
            for each in TEMPERATURES:
                difference = paired(study.vote("held_out", each)[samples]["right"], guided["right"])
                print(f"seed {study.seed}: {samples} samples: search - vote at {each}: {difference}", flush=True)
            for side, found in zip(together[samples], (vote, guided), strict=True):
                side.update({f"{study.seed} {problem}": right for problem, right in found["right"].items()})
    for samples, sides in together.items():
        print(f"all seeds: {samples} samples: search - vote {paired(*sides)}")


START = time.perf_counter()


def said(text: str) -> None:
    print(f"[{time.perf_counter() - START:.0f} s] {text}", flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.guided_search")
    parser.add_argument("--out", type=Path, default=Path("runs/guided"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--small", action="store_true", help="a few seconds' worth, to see that it runs")
    asked = parser.parse_args(words)
    torch.set_num_threads(1)
    report([Study(asked.out, seed, SMALL if asked.small else Size()) for seed in asked.seeds])


if __name__ == "__main__":
    main()
