"""From a seed to a table: can step labels that a policy makes for itself find errors, and guide a search?

    python -m examples.guided_search --out runs/guided --seeds 0

The regime is one where a search by steps should pay: few samples are right as a whole, and errors are of single steps.
Problems are sums of up to seven digits, and the policy learns from authors who forget every second carry, so that no
temperature makes it sure. From then on only final answers are checked. docs/values.md says where a search does not pay.

1. Monte-Carlo labels: how often does "some completion of this step comes out right" say what the exact checker says?
2. A process model learns the labels, an outcome model the answers of the same responses. Which finds the first error?
   Each threshold is chosen on development problems. "Chance" is a score that is noise, with a threshold of its own.
3. Search guided by the process model against a vote over plain samples. The vote has 4, 8 and 16 whole samples; the
   search may spend on each problem what these cost on average, and so never generates more than they do.

The vote's weights and temperature, and the strategy and its own, are those with the best mean accuracy over the budgets
on the first seed's development problems; all that was tried is printed. Not here: a price of scored tokens, of which
the search has more, and the tokens of the labels. Interrupted, the study goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
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
from espalier.scorers import Steps, ValueScorer
from espalier.search import Budget, DiverseTreeSearch, Limits, Sample, StepBeam, Strategy
from espalier.search.aggregate import prefixes, weighted
from espalier.training import SFT, Process, Training, Value, train
from espalier.training.recipe import Recipe
from espalier.trees import Forest, Node, Score, Tree, open_forest, split_steps
from espalier.worlds.arithmetic import ALPHABET, Arithmetic, ArithmeticStepVerifier, ArithmeticVerifier, final_answer

LEVELS, HARD = (3, 4, 5, 6), (6,)
"""What the policy learns from and what is labelled; and its longest problems, which are searched."""
FORGOTTEN = 0.5
"""The share of carries that the demonstrations' authors forget."""
SAMPLES = (4, 8, 16)
"""The budgets: what so many plain samples cost."""
TOKENS, STEP_TOKENS = 90, 12
TEMPERATURES = (0.3, 0.6, 1.0, 1.5)
"""Both sides may choose."""
WEIGHTS = ("process", "process-min", "process-product", "outcome", "one")
"""Of the vote: the process model's score of the last step, the worst, or all; the outcome model's; or none."""

Key = tuple[str, float]
"""What weighs a vote, or a strategy's name, and its temperature."""
Result = dict[str, Any]
"""Of one search: for each problem whether its answer was "right", and the tokens "generated" for one on average."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything; problems, where nothing else is said."""

    demonstrations: int = 3000
    sft_steps: int = 600
    labelled: int = 1600
    completions: int = 8
    steps: int = 1000
    development: int = 100
    held_out: int = 600
    model: Mapping[str, Any] = field(default_factory=lambda: demo.MODEL)


SMALL = Size(48, 4, 4, 2, 3, 6, 6, demo.SMALL.model)
"""To see that it runs."""


def candidates(samples: int, draw: Sampling) -> dict[str, Strategy]:
    """The searches that were tried, at the size that so many samples pay for."""
    given: dict[str, Any] = {"vote": final_answer, "batch": 200, "score": "process"}
    return {
        "beam, 3": StepBeam(samples // 4, 3, draw, **given),
        **{f"diverse, {n}": DiverseTreeSearch(1, n, draw, repeats=samples, **given) for n in (2, 3, 4)},
    }


def forgetful(problems: Forest, seed: int) -> Forest:
    """The problems, each with a solution from left to right whose author forgets carries and goes on without them."""
    rng = np.random.default_rng([seed, 3])
    for tree in problems:
        total, *terms = map(int, re.findall(r"\d+", tree.prompt))
        lines = []
        for term in terms:
            before, total = total, total + term
            total -= 10 * int(before % 10 + term >= 10 and rng.random() < FORGOTTEN)
            lines.append(f"{before}+{term}={total}")
        tree.root.add(Node("\n".join([*lines, f"#{total}"]), "human", stop="eos"))
    return problems


class Study:
    """One seed: models, each in a folder of its own, and what is measured with them."""

    def __init__(self, out: Path, seed: int, size: Size) -> None:
        self.folder, self.seed, self.size = out / f"seed-{seed}", seed, size
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- what is learned

    @cached_property
    def policy(self) -> Model:
        """From solutions by authors who forget carries."""

        def fresh() -> Model:
            return from_config(dict(self.size.model), train_tokenizer([ALPHABET], kind="char"), seed=self.seed)

        def solutions() -> Forest:
            return forgetful(sums(LEVELS).problems(self.size.demonstrations, seed=self.seed), self.seed)

        return self.learned("policy", SFT(), fresh, solutions, steps=self.size.sft_steps, batch_size=32, lr=3e-3)

    @cached_property
    def process(self) -> ValueScorer:
        return self.judge("process", Process())

    @cached_property
    def outcome(self) -> ValueScorer:
        return self.judge("outcome", Value(by="correct"))

    def judge(self, name: str, recipe: Recipe) -> ValueScorer:
        """A scorer that starts from the policy and learns from the labelled responses."""

        def start() -> Model:
            return self.policy.copy().requires_grad_(True)

        model = self.learned(name, recipe, start, self.labels, steps=self.size.steps, batch_size=16, lr=1e-3)
        return ValueScorer(model, name)

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
        size, seed = self.size, self.seed
        if what == "labelled":
            return sums(LEVELS).problems(size.labelled, seed=1000 + seed)
        if what == "development":
            return sums(HARD).problems(size.development, seed=2000 + seed)
        return sums(HARD).problems(size.held_out, "held_out", seed=3000 + seed)

    def sampled(self, problems: Forest, n: int, temperature: float = 1.0) -> Forest:
        sample = Sample(n, Sampling(TOKENS, temperature, seed=self.seed), batch=200)
        return sample.search(problems, LocalEngine(self.policy)).forest

    def in_steps(self, tree: Tree) -> Tree:
        return split_steps(tree, decode=lambda ids: str(self.policy.tokenizer.decode(ids, skip_special_tokens=False)))

    def labels(self) -> Forest:
        """A response to each problem, with the share of completions that are right on every step."""
        samples = self.folder / "samples.parquet"
        if not samples.exists():
            self.sampled(self.problems("labelled"), 1).write(samples)
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
            (number, node.value("label") or 0.0, node.value("step") == 1)
            for number, tree in enumerate(labelled)
            for node in tree.walk()
            if node is not tree.root
        ]
        problem, label, right = (np.array(column) for column in zip(*steps, strict=True))
        agree = (label > 0) == right
        parts = {"steps": right | True, "right steps": right, "wrong steps": ~right}
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
            self.process.score(forest)
            self.outcome.score(forest)
            rng = np.random.default_rng(self.seed)
            for node in forest.nodes():
                node.scores["chance"] = Score(rng.random())
            parts[what] = forest
        names, test = ("process", "outcome", "chance"), parts["held_out"]
        at = {name: best_threshold(parts["development"], name) for name in names}
        try:
            found = {f"F1, {name} at {at[name]:.3f}": str(first_errors(test, name, at=at[name]).f1) for name in names}
            for other in names[1:]:
                found[f"F1, process - {other}"] = str(f1_gain(test, other, "process", at=(at[other], at["process"])))
        except AuditError as error:  # a policy that is never right, as after a few steps
            return {"F1": str(error)}
        return found

    def vote(self, what: str, weight: str, temperature: float) -> dict[int, Result]:
        """Weighted votes over the first of the samples; what they generated is what the search may."""

        def run() -> dict[str, dict[int, Result]]:
            sampled = self.sampled(self.problems(what), max(SAMPLES), temperature)
            forest = Forest([self.in_steps(tree) for tree in sampled])
            for scorer in (Steps(self.process, "min"), Steps(self.process, "product"), self.outcome):
                scorer.score(forest)
            ArithmeticVerifier().score(forest)
            for leaf in forest.leaves():
                leaf.scores["one"] = Score(1.0)
            found = {by: prefixes(forest, partial(weighted, extract=final_answer, score=by), SAMPLES) for by in WEIGHTS}
            return {by: {k.k: result(forest, k.answers, sum(k.generated)) for k in ks} for by, ks in found.items()}

        return {int(k): of for k, of in self.kept(f"{what}-vote-{temperature}", run)[weight].items()}

    def search(self, what: str, name: str, temperature: float, samples: int, limit: int) -> Result:
        """One strategy within a number of generated tokens a problem."""

        def run() -> Result:
            strategy = candidates(samples, Sampling(STEP_TOKENS, temperature, seed=self.seed))[name]
            budget = Budget(tree=Limits(generated=limit))
            found = strategy.search(self.problems(what), LocalEngine(self.policy), self.process, budget)
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


def sums(levels: Sequence[int]) -> Arithmetic:
    return Arithmetic(levels, largest=9, operators="+")


def result(forest: Forest, answers: Sequence[Node | None], generated: int) -> Result:
    """No answer, and one that was cut, is a wrong answer."""
    right = {
        tree.id: float(answer is not None and answer.value("correct") == 1)
        for tree, answer in zip(forest, answers, strict=True)
    }
    return {"right": right, "generated": generated / len(forest)}


def choose(study: Study) -> tuple[Key, Key]:
    """The vote's weights and temperature, and the strategy and its own, by accuracy on development problems."""
    plain = best({key: list(study.vote("development", *key).values()) for key in product(WEIGHTS, TEMPERATURES)})
    limits = {samples: int(vote["generated"]) for samples, vote in study.vote("development", *plain).items()}
    tried = product(candidates(min(SAMPLES), Sampling()), TEMPERATURES)
    return plain, best({key: [study.search("development", *key, *each) for each in limits.items()] for key in tried})


def best(tried: Mapping[Key, Sequence[Result]]) -> Key:
    """Of all that was tried, which is printed, that with the best mean accuracy over the budgets."""
    for (name, temperature), results in tried.items():
        print(f"development: {name} at {temperature}:", *map(shown, results), sep="  ", flush=True)
    chosen = max(tried, key=lambda key: sum(sum(found["right"].values()) for found in tried[key]))
    print(f"chosen: {chosen[0]} at {chosen[1]}", flush=True)
    return chosen


def shown(found: Result) -> str:
    return f"{np.mean(list(found['right'].values())):.3f} for {found['generated']:.0f} tokens"


def report(studies: Sequence[Study]) -> None:
    """The tables of each seed, and the searches of all seeds together; the first seed's development problems choose."""
    plain, strategy = choose(studies[0])
    together: dict[int, tuple[dict[str, float], dict[str, float]]] = {samples: ({}, {}) for samples in SAMPLES}
    for study in studies:
        for line, interval in (study.agreement() | study.first_errors()).items():
            print(f"seed {study.seed}: {line}: {interval}", flush=True)
        for samples, vote in study.vote("held_out", *plain).items():
            guided = study.search("held_out", *strategy, samples, int(vote["generated"]))
            print(f"seed {study.seed}: {samples} samples: vote {shown(vote)}, search {shown(guided)}")
            print(f"seed {study.seed}: {samples} samples: search - vote: {paired(vote['right'], guided['right'])}")
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
