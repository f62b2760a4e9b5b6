"""Per-step negatives: learning from where wrong solutions went wrong is worth several times as many right ones."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from espalier.curation import best_and_worst
from espalier.curation.forks import step_pairs
from espalier.curation.labels import Completer, MonteCarlo, drive
from espalier.engines import Sampling
from espalier.exact import ExactEngine
from espalier.losses import nll
from espalier.trees import Forest
from papers import Less, Paper
from papers.preferences import _chains as chains

PAPER = Paper(
    id="P436",
    title="RL on Incorrect Synthetic Data Scales the Efficiency of LLM Math Reasoning by Eight-Fold",
    claim="training on the model's own right solutions makes as much of a set of problems as a multiple of them with a "
    "teacher's solutions does, and per-step DPO on its wrong ones, paired at the step from which no continuation ends "
    "right, more than eight times as many; DPO on whole wrong solutions does less; spurious steps, wrong but with a "
    "right answer, are unlearned",
    measured="chains of four calculations whose maps merge numbers, so that a mistake may be hidden; one solution of a "
    "teacher (who makes some) for 64 or 512 problems, checked by the answer; from the model fine-tuned on the 64: 8 "
    "own samples of each, all right ones learned from the start, or DPO on whole pairs, or on step pairs by values of "
    "4 continuations; each the best of three learning rates: exact chance of a right answer over all 7776 problems, "
    "and the share of right answers that have a wrong step",
    rule=[
        Less("right, teacher's, 64", "right, own, 64"),
        Less("right, own, 64", "right, steps, 64"),
        Less("right, whole pairs, 64", "right, steps, 64"),
        Less("right, teacher's, 512", "right, steps, 64"),
        Less("spurious, steps, 64", "spurious, teacher's, 64"),
    ],
    seeds=6,
)


def right(task: chains.Task, model: chains.Reasoner) -> float:
    """The chance to end at the right answer, whatever the steps, over all problems there are."""
    skills, n = model.skills().detach().exp(), chains.NUMBERS
    moves = skills[..., :n] + skills[..., n:]  # [operations, from, to]
    truth = nn.functional.one_hot(task.results, n).to(moves)
    joint = torch.eye(n, dtype=moves.dtype) / n  # of the number one should have and the number one has
    for _ in range(chains.STEPS):
        joint = (truth.mT @ joint @ moves).mean(0)
    return float(joint.trace())


def passed(task: chains.Task, policy: chains.Reasoner, n: int, seed: int, most: int) -> chains.Steps:
    """Of n samples for each problem, up to `most` different ones with a right answer."""
    found = []
    for tree in chains.sampled(task, policy, n, seed):
        found += list({leaf.response(): leaf for leaf in tree.leaves() if leaf.value("correct")}.values())[:most]
    return chains.Steps.of(found)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    few, many = (chains.task(seed, count, merging=True) for count in ((8, 16) if smoke else (64, 512)))
    start, features, figures = chains.novice(few, seed, skill=0.5), chains.table(), {}

    def best(name: str, model: chains.Reasoner, loss: Callable[[Tensor], Tensor]) -> chains.Reasoner:
        tries = [chains.learned(model, loss, 10 if smoke else 60, lr) for lr in (0.02, 0.05, 0.2)]
        found = max(tries, key=lambda one: right(few, one))
        figures[f"right, {name}"] = right(few, found)
        figures[f"spurious, {name}"] = 1 - chains.accuracy(few, found) / right(few, found)
        return found

    def imitating(shown: chains.Steps) -> Callable[[Tensor], Tensor]:
        return lambda skills: nll(shown.logprob(skills))

    novice = chains.Reasoner(few, start, features)
    for task, name in ((many, "teacher's, 512"), (few, "teacher's, 64")):
        teacher = chains.Reasoner(task, chains.novice(task, seed + 50, skill=3.0), features)
        tuned = best(name, novice, imitating(passed(task, teacher, 3, seed, most=1)))
    own, answer = chains.sampled(few, tuned, 8, seed + 1), chains.Answer(few)
    best("own, 64", novice, imitating(passed(few, tuned, 8, seed + 1, most=8)))
    best("whole pairs, 64", tuned, chains.preferring(tuned, chains.compared(best_and_worst(own, "correct"), "correct")))
    engine, again = ExactEngine(tuned), Sampling(max_tokens=chains.STEPS, seed=seed + 2)
    valued = [chains.split(tree) for tree in own]
    drive(valued, MonteCarlo("correct", name="value"), Completer(engine, answer, 4, again))
    steps = step_pairs(Forest(valued), engine, answer, 8, again, by="value", split=chains.split)
    best("steps, 64", tuned, chains.preferring(tuned, chains.compared(steps)))
    return figures | {"step pairs": len(steps)}
