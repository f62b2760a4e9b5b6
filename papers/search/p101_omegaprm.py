"""OmegaPRM's binary search finds the first error with fewer completions than labelling every step, and as surely."""

from collections.abc import Iterator, Sequence

import numpy as np

from espalier import Engine, Forest, Node, Sampling, Score, Tree
from espalier.curation.labels import Completer, MonteCarlo, Omega, drive
from espalier.scorers import Verifier
from espalier.trees import Ledger, first_error, split_steps
from papers import Above, Less, Paper

PAPER = Paper(
    id="P101",
    title="Improve Mathematical Reasoning in Language Models by Automated Process Supervision",
    claim="binary search over a wrong solution finds its first error with fewer completions than one Monte-Carlo "
    "estimate a step, just as surely, and the tree's other completions give more located errors for the same samples",
    measured="solutions of 12 lines by a writer who errs in a line with chance 0.1 and never recovers: "
    "completions spent for each located first error, and how often it is the step checker's, for a Monte-Carlo "
    "estimate of every step and for OmegaPRM (8 completions a state)",
    rule=[
        Less("completions an error, OmegaPRM", "completions an error, every step"),
        Above("share found, OmegaPRM", 0.9),
        Above("saved", 0.3),
    ],
    seeds=8,
)


STEPS = 12


class Clerk(Engine):
    """Writes lines that are right or, now and then, wrong; after a wrong one all are."""

    def __init__(self, error: float) -> None:
        self.error, self.spent = error, Ledger()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        return [[self.write(prefix, number, sampling.seed) for number in range(n)] for prefix in prefixes]

    def write(self, prefix: Node, number: int, seed: int) -> Node:
        done = prefix.response().splitlines(keepends=True)
        draws = np.random.default_rng([seed, number, *prefix.full_text().encode()]).random(STEPS - len(done))
        right = (draws >= self.error).cumprod() * ("wrong\n" not in done)
        return Node("".join("right\n" if line else "wrong\n" for line in right), stop="eos")


class Checker(Verifier):
    """1 where no line is wrong: of whole responses, or of every step."""

    def __init__(self, name: str, steps: bool) -> None:
        super().__init__(name)
        self.steps = steps

    def nodes(self, tree: Tree) -> Iterator[Node]:
        return (node for node in tree.walk() if node.parent) if self.steps else super().nodes(tree)

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float("wrong" not in node.response()))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    clerk, outcome, checker = Clerk(error=0.1), Checker("correct", steps=False), Checker("step", steps=True)
    written, figures = list[Tree](), dict[str, float]()
    for number in range(6 if smoke else 40):
        tree = Tree(Node(f"problem {seed} {number}: ", "prompt"))
        for node in clerk.extend([tree.root], 2, Sampling(seed=seed))[0]:
            tree.root.add(node)
        written.append(split_steps(tree))
    outcome.score(Forest(written))
    wrong = [tree for tree in written if any(leaf.value("correct") == 0 for leaf in tree.leaves())]
    for name, method in (("every step", MonteCarlo("correct")), ("OmegaPRM", Omega("correct", searches=8))):
        trees, completer = [tree.copy() for tree in wrong], Completer(clerk, outcome, 8, Sampling(seed=seed))
        drive(trees, method, completer)
        located = found = 0
        for leaf in checker.score(Forest(trees)).leaves():
            chain = leaf.path()[1:]
            error = first_error(chain, "step")
            if error is not None and leaf.value("label") == 0:
                located += 1
                found += first_error(chain, "label", 0.0) is error
        figures[f"completions an error, {name}"] = completer.completions / max(located, 1)
        figures[f"share found, {name}"] = found / max(located, 1)
    figures["saved"] = 1 - figures["completions an error, OmegaPRM"] / figures["completions an error, every step"]
    return figures
