"""Patience: taught to prefer the longer of two right solutions, a model solves more, because small steps are safer."""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from espalier.curation.patient import patient_pairs
from espalier.exact import anneal
from espalier.losses.preference import dpo
from espalier.trees import Node, pairs
from papers import Less, Paper
from papers.preferences import _chains as chains

PAPER = Paper(
    id="P239",
    title="Patience Is The Key to Large Language Model Reasoning",
    claim="preferring a detailed right solution to a terse right one of the same problem makes a model more accurate, "
    "at longer answers, by changing how it works and not what it knows; users' taste for brevity costs accuracy",
    measured="chains of four calculations, written one or two at a time; a model that has counted 400 solutions by "
    "people who like brevity, four terse ones to a detailed one; DPO on its own right solutions of 40 problems, the "
    "longest over the shortest: exact accuracy over all 7776 problems, numbers written, accuracy if only the choice "
    "between detailed and terse is taken from the trained model; and the same with the shortest over the longest",
    rule=[
        Less("accuracy, before", "accuracy, patient"),
        Less("accuracy, brief", "accuracy, patient"),
        Less("accuracy, before", "accuracy, patient in choice alone"),
        Less("accuracy, brief in choice alone", "accuracy, before"),
        Less("numbers written, before", "numbers written, patient"),
    ],
    seeds=12,
)
N, STEPS = chains.NUMBERS, chains.STEPS


class Written(NamedTuple):
    """Solutions: the start and the numbers after each operation, [solutions, 5], the operations, and who is detailed.

    A terse solution writes only the last two numbers of each pair of operations: places 2 and 4.
    """

    numbers: Tensor
    operations: Tensor
    detailed: Tensor

    @classmethod
    def of(cls, leaves: list[Node]) -> "Written":
        rows = []
        for leaf in leaves:
            said, prompt = list(map(int, leaf.response())), list(map(int, leaf.root().text))
            places = said if len(said) == STEPS else [0, said[0], 0, said[1]]
            rows.append([prompt[0], *places, *prompt[1:], len(said) == STEPS])
        found = torch.tensor(rows)
        return cls(found[:, : STEPS + 1], found[:, STEPS + 1 : -1], found[:, -1].bool())

    def nodes(self) -> list[Node]:
        """As nodes below their prompts."""
        found = []
        for numbers, operations, detailed in zip(*(part.tolist() for part in self), strict=True):
            said = numbers[1:] if detailed else numbers[2::2]
            root = Node("".join(map(str, [numbers[0], *operations])), "prompt")
            found.append(root.add(Node("".join(map(str, said)), stop="eos")))
        return found


class Solver(nn.Module):
    """Is detailed or terse, by the first operation; has a skill for each calculation and for each two in a row.

    Attributes:
        choice: log-odds of a detailed solution, [operations].
        steps: logits of the next number, [operations, numbers, results].
        leaps: logits of the number after two operations, [operations, operations, numbers, results].
    """

    def __init__(self, choice: Tensor, steps: Tensor, leaps: Tensor) -> None:
        super().__init__()
        self.choice, self.steps, self.leaps = map(nn.Parameter, (choice, steps, leaps))

    def logprob(self, of: Written) -> Tensor:
        """Of each solution, in nats."""
        before, after, operations = of.numbers[:, :-1], of.numbers[:, 1:], of.operations
        steps = self.steps.log_softmax(-1)[operations, before, after].sum(-1)
        first, second = operations[:, ::2], operations[:, 1::2]
        leaps = self.leaps.log_softmax(-1)[first, second, before[:, ::2], after[:, 1::2]].sum(-1)
        choice = self.choice[operations[:, 0]]
        return torch.where(
            of.detailed, nn.functional.logsigmoid(choice) + steps, nn.functional.logsigmoid(-choice) + leaps
        )

    @torch.no_grad()
    def solve(self, start: Tensor, operations: Tensor, chance: torch.Generator) -> Written:
        """A solution of each problem."""

        def draw(logits: Tensor) -> Tensor:
            return torch.multinomial(logits.softmax(-1), 1, generator=chance)[:, 0]

        detailed = torch.rand(len(start), generator=chance) < self.choice[operations[:, 0]].sigmoid()
        stepped, leapt = [start], [start]
        for k, operation in enumerate(operations.T):
            stepped.append(draw(self.steps[operation, stepped[-1]]))
            leapt.append(
                draw(self.leaps[operations[:, k - 1], operation, leapt[-2]]) if k % 2 else torch.zeros_like(start)
            )
        numbers = torch.where(detailed[:, None], torch.stack(stepped, 1), torch.stack(leapt, 1))
        return Written(numbers, operations, detailed)

    @torch.no_grad()
    def accuracy(self, task: chains.Task) -> Tensor:
        """The chance of a terse and of a detailed solution to be right all along, by the first operation, [2, N]."""
        then = task.results[:, task.results].transpose(0, 1)  # [first, second, number]: what two operations make of it
        once = self.steps.softmax(-1).gather(-1, task.results[..., None])[..., 0]
        leap = self.leaps.softmax(-1).gather(-1, then[..., None])[..., 0]
        step = once[:, None] * once[:, task.results].transpose(0, 1)
        return torch.stack([(two * two.mean((0, 1))[then]).mean((1, 2)) for two in (leap, step)])

    @torch.no_grad()
    def report(self, task: chains.Task) -> tuple[float, float]:
        """Accuracy and mean numbers written, over all problems."""
        patient, right = self.choice.sigmoid(), self.accuracy(task)
        return float(((1 - patient) * right[0] + patient * right[1]).mean()), float((2 + 2 * patient).mean())


def taught(task: chains.Task, seed: int, count: int) -> Solver:
    """One who has counted right solutions, one in five of them detailed; a fifth of a count for what was never seen."""
    chance, one = torch.Generator().manual_seed(seed), torch.ones(count, dtype=torch.float64)
    number, choice = torch.randint(N, (count,), generator=chance), torch.full((2, N), 0.2, dtype=torch.float64)
    steps, leaps = (torch.full((N,) * size, 0.2, dtype=torch.float64) for size in (3, 4))
    operations, detailed = torch.randint(N, (STEPS, count), generator=chance), torch.rand(count, generator=chance) < 0.2
    choice.index_put_((detailed.long(), operations[0]), one, accumulate=True)
    before = number
    for k, operation in enumerate(operations):
        result = task.results[operation, number]
        steps.index_put_((operation, number, result), one * detailed, accumulate=True)
        if k % 2:
            leaps.index_put_((operations[k - 1], operation, before, result), one * ~detailed, accumulate=True)
        before, number = number, result
    return Solver((choice[1] / choice[0]).log(), steps.log(), leaps.log())


def measure(seed: int, smoke: bool) -> dict[str, float]:
    task, chance = chains.task(seed, problems=40), torch.Generator().manual_seed(seed)
    model, forest = taught(task, seed, count=400), task.bare()
    asked = torch.tensor([list(map(int, prompt)) for prompt in task.language.prompts]).repeat_interleave(16, 0)
    for number, leaf in enumerate(model.solve(asked[:, 0], asked[:, 1:], chance).nodes()):
        forest[number // 16].root.add(leaf.detach())
    chains.Answer(task).score(forest)
    found = [pair for tree in patient_pairs(forest, "correct") for pair in pairs(tree)]
    detailed, terse = (Written.of([getattr(pair, side) for pair in found]) for side in ("chosen", "rejected"))
    figures = {"accuracy, before": model.report(task)[0], "numbers written, before": model.report(task)[1]}
    reference = [model.logprob(side).detach() for side in (detailed, terse)]
    for name, sign in (("patient", 1), ("brief", -1)):
        student = deepcopy(model)

        def loss(student: Solver = student, sign: int = sign) -> Tensor:
            ratios = [student.logprob(side) - one for side, one in zip((detailed, terse), reference, strict=True)]
            return dpo(*ratios[::sign], 0.1).mean()

        anneal(student, loss, 10 if smoke else 60, lr=0.1)
        figures[f"accuracy, {name}"], figures[f"numbers written, {name}"] = student.report(task)
        alone = Solver(student.choice.data, model.steps.data, model.leaps.data)
        figures[f"accuracy, {name} in choice alone"] = alone.report(task)[0]
    right = model.accuracy(task).mean(1)
    return figures | {
        "pairs": len(found),
        "accuracy if terse": float(right[0]),
        "accuracy if detailed": float(right[1]),
    }
