"""Step-DPO: one wrong step and its own correction teach more than two whole solutions, or than a foreign correction."""

from espalier.curation import best_and_worst
from espalier.curation.forks import step_pairs
from espalier.engines import Sampling
from espalier.exact import ExactEngine
from espalier.trees import Forest
from papers import Less, Paper
from papers.preferences import _chains as chains

PAPER = Paper(
    id="P126",
    title="Step-DPO: Step-wise Preference Optimization for Long-chain Reasoning of LLMs",
    claim="with as many pairs, DPO on the first wrong step and its correction teaches more than DPO on whole "
    "solutions, which also punishes what was right in the wrong one; corrections by the model itself teach more than "
    "those of another writer",
    measured="chains of four calculations with shared skills, 64 problems, 8 samples each; a right and a wrong "
    "solution of each problem that has both; or the same wrong solution's first wrong step, with a correction that the "
    "model samples, or with that correction in a hand that the model seldom writes; equal numbers of pairs, each way "
    "at the best of three learning rates: exact accuracy over all 7776 problems",
    rule=[
        Less("accuracy, before", "accuracy, steps"),
        Less("accuracy, whole solutions", "accuracy, steps"),
        Less("accuracy, another writer's steps", "accuracy, steps"),
    ],
    seeds=8,
)


def rewritten(forest: Forest) -> Forest:
    """The same corrections in the second hand."""
    found = Forest(tree.copy() for tree in forest)
    for tree in found:
        for leaf in tree.leaves():
            if leaf.value("preference") == 1:
                leaf.text = chains.SYMBOLS[chains.SYMBOLS.index(leaf.text) % chains.NUMBERS + chains.NUMBERS]
    return found


def measure(seed: int, smoke: bool) -> dict[str, float]:
    problems = chains.task(seed, problems=12 if smoke else 64)
    model = chains.Reasoner(problems, chains.novice(problems, seed), chains.table())
    whole = best_and_worst(chains.sampled(problems, model, 8, seed), "correct")
    checked = chains.StepCheck(problems).score(Forest(map(chains.split, whole)))
    again, answer = Sampling(max_tokens=chains.STEPS, seed=seed + 1), chains.Answer(problems)
    steps = step_pairs(checked, ExactEngine(model), answer, 16, again, by="step", split=chains.split)
    count, figures = min(len(whole), len(steps)), {"accuracy, before": chains.accuracy(problems, model)}
    for name, forest, by in (
        ("whole solutions", whole, "correct"),
        ("steps", steps, "preference"),
        ("another writer's steps", rewritten(steps), "preference"),
    ):
        loss = chains.preferring(model, chains.compared(forest[:count], by))
        tries = (chains.learned(model, loss, 20 if smoke else 100, lr) for lr in (0.02, 0.05, 0.2))
        figures[f"accuracy, {name}"] = max(chains.accuracy(problems, one) for one in tries)
    return figures | {"pairs": count}
