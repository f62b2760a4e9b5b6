"""Step labels against exact values: on an enumerable language, and on the arithmetic world with its step checker."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from espalier.curation.labels import (
    Completer,
    MonteCarlo,
    Omega,
    Sorm,
    balanced,
    consensus,
    drive,
    estimate,
    label_forest,
    mutate_and_execute,
)
from espalier.curation.labels.sorm import result_is_used
from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.exact import ExactEngine, ExactScorer, Language, Tabular, place, soft_values
from espalier.exact import forest as prefix_trees
from espalier.trees import Forest, Ledger, Node, Score, Tree, first_error, open_forest, split_steps
from espalier.worlds.arithmetic import Arithmetic, ArithmeticStepVerifier, ArithmeticVerifier, moves, read

LANGUAGE = Language("ab", 4, end=False, prompts=("a", "b"))


def exact_world(n: int, policy: Tabular | None = None) -> tuple[Tabular, torch.Tensor, Completer]:
    """A policy, 0/1 outcomes of its strings, and a completer that knows them."""
    policy = policy or Tabular.random(LANGUAGE, 0)
    right = (torch.arange(len(LANGUAGE.strings)) % 3 == 0).double().repeat(2, 1)
    scorer = ExactScorer(LANGUAGE, "right", right)
    return policy, right, Completer(ExactEngine(policy), scorer, n, Sampling(max_tokens=4))


class Clerk:
    """An engine for the arithmetic world: goes on from what is written, and errs in a line now and then.

    After a wrong line it goes on with wrong lines, so a prefix leads to the right answer only if it is right.
    """

    def __init__(self, error: float = 0.3) -> None:
        self.error, self.spent = error, Ledger()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        self.spent += Ledger(calls=1, generated=n * len(prefixes))
        return [[self._write(prefix, i, sampling.seed) for i in range(n)] for prefix in prefixes]

    def _write(self, prefix: Node, number: int, seed: int) -> Node:
        text = prefix.full_text()
        rng = np.random.default_rng([seed, number, *text.encode()])
        problem, lines = prefix.root().text, prefix.response().splitlines()
        states, written = {read(problem)}, list[str]()
        for line in lines:
            states = {after for state in states for move, after in moves(state) if move == line}
        while not (lines + written and (lines + written)[-1].startswith("#")):
            if states and rng.random() > self.error:
                line, after = (found := moves(next(iter(states))))[min(1, len(found) - 1)]
                states = {after}
            else:
                states, line = set(), "9+9=1" if len(lines + written) < 2 else "#999"
            written.append(line)
        return Node("\n".join(written), stop="eos")


def test_monte_carlo_labels_are_the_values_of_the_prefixes_within_their_spread():
    policy, right, completer = exact_world(400)
    exact = soft_values(LANGUAGE, policy.next_logprobs().detach(), right, torch.inf).value
    trees = list(prefix_trees(policy))
    drive(trees, MonteCarlo("right"), completer)
    errors = []
    for tree in trees:
        for node in tree.walk():
            prompt, text, string = place(LANGUAGE, node)
            if string is not None:
                assert node.scores["label"] == Score(float(right[prompt, string]))
            elif node is not tree.root:
                score = node.scores["label"]
                errors.append((score.value - float(exact[prompt, text])) / score.spread)
    assert len(errors) == 28
    assert max(map(abs, errors)) < 4
    assert sum(abs(error) < 1 for error in errors) / len(errors) > 0.5  # 0.68 is expected


def test_advantages_are_the_change_in_success_under_the_prover():
    prover = Tabular.random(LANGUAGE, 7)
    _, right, completer = exact_world(400, prover)
    exact = soft_values(LANGUAGE, prover.next_logprobs().detach(), right, torch.inf)
    trees = list(prefix_trees(Tabular.random(LANGUAGE, 0)))  # another policy wrote them
    drive(trees, MonteCarlo("right", advantage=True), completer)
    for tree in trees:
        for node in tree.root.children:
            prompt, text, _ = place(LANGUAGE, node)
            goal = exact.value[prompt, text] - exact.value[prompt, 0]
            found = node.scores["advantage"]
            assert abs(found.value - float(goal)) < 4 * found.spread


def test_a_few_successes_are_no_certainty():
    ends = [Node("", scores={"right": Score(1.0)}) for _ in range(4)]
    assert estimate(ends, "right").value == 1.0
    assert estimate(ends, "right").spread == pytest.approx(math.sqrt(4.5 * 0.5 / 6) / 5)
    assert estimate([Node("")] * 3, "right").missing == "none of 3 completions could be judged by 'right'"
    other = [Node("", scores={"right": Score(value)}) for value in (1.0, 3.0)]
    assert estimate(other, "right") == Score(2.0, 1.0)


def solutions(n: int = 12) -> Forest:
    """Problems with three responses of the clerk's, split into steps."""
    forest = Arithmetic(levels=(3,), largest=20).problems(n, seed=3)
    for tree, nodes in zip(forest, Clerk().extend([t.root for t in forest], 3, Sampling(seed=5)), strict=True):
        for node in nodes:
            tree.root.add(node)
    return Forest([split_steps(tree) for tree in forest])


def test_where_errors_are_never_mended_hard_labels_are_those_of_the_step_checker():
    forest = ArithmeticStepVerifier().score(solutions())
    drive(list(forest), MonteCarlo("correct"), Completer(Clerk(), ArithmeticVerifier(), 8))
    steps = [node for node in forest.nodes() if node.parent]
    wrong = [node for node in steps if node.value("step") == 0]
    assert wrong
    assert all(node.value("label") == 0 for node in wrong)
    right = [node for node in steps if node.value("step") == 1]
    assert sum(node.value("label") > 0 for node in right) / len(right) > 0.95


def test_sorm_says_of_a_step_before_a_positive_one_that_it_is_positive():
    forest = solutions()
    drive(list(forest), Sorm("correct"), Completer(Clerk(error=0.9), ArithmeticVerifier(), 2))
    for node in forest.nodes():
        if node.parent and any(child.value("label") == 1 for child in node.children):
            assert node.value("label") == 1
    assert {node.value("label") for node in forest.nodes() if node.parent} == {0.0, 1.0}
    even = balanced(forest)
    for depth in range(1, 5):
        labels = [node.value("label") for node in even.nodes() if node.depth == depth and "label" in node.scores]
        assert sum(labels) * 2 == len(labels)


class Anew(Clerk):
    """Whatever stands there, does all of 2+3*4 again."""

    def _write(self, prefix: Node, number: int, seed: int) -> Node:
        return Node("3*4=12\n2+12=14\n#14", stop="eos")


def test_sorm_counts_no_completion_that_passes_over_what_a_step_came_to():
    def labels(**settings) -> list[float | None]:
        tree = Tree(Node("2+3*4=\n", "prompt"), meta={"answer": "14"})
        tree.root.add(Node("3*4=13\n")).add(Node("3*4=12\n")).add(Node("2+12=14\n")).add(Node("#14", stop="eos"))
        drive([tree], Sorm("correct", **settings), Completer(Anew(), ArithmeticVerifier(), 1))
        return [node.value("label") for node in tree.walk()][1:]

    assert labels() == [0.0, 1.0, 1.0, 1.0]
    assert labels(used=lambda step, rest: True) == [1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("step", "rest", "used"),
    [
        ("She pays 2 * 625 = $1,250 in all.", "Of the 1250 dollars", True),
        ("48/2 = 24 clips in May", "48+24 = 72", True),
        ("so 3 - 5 = -2", "10 - 2 = 8", True),
        ("3*4=1", "2+12=14", False),
        ("Half of 12 are girls.", "nothing of it", True),
    ],
)
def test_a_result_is_the_number_after_the_last_equation_sign(step: str, rest: str, used: bool):
    assert result_is_used(step, rest) is used


def test_omega_finds_the_first_error_of_wrong_responses_with_fewer_completions_than_one_each_step():
    forest = ArithmeticStepVerifier().score(solutions())
    completer = Completer(Clerk(), ArithmeticVerifier(), 8)
    drive(list(forest), Omega("correct", searches=6), completer)
    found = searched = 0
    for tree in ArithmeticStepVerifier().score(forest):
        for leaf in tree.leaves():
            chain = leaf.path()[1:]
            error = first_error(chain, "step")
            if leaf.value("label") != 0 or error is None:
                continue
            searched += 1
            found += first_error(chain, "label", 0.0) is error
    assert searched > len(forest)
    assert found / searched > 0.9
    every = sum(len(leaf.path()) - 2 for leaf in forest.leaves() if "label" in leaf.scores)
    assert completer.completions < 8 * every


def test_omega_goes_first_for_responses_that_look_right_and_states_that_were_seldom_chosen():
    omega, likely, unlikely = Omega("right"), Node("", "prompt"), Node("", "prompt")
    likely.scores["label"], unlikely.scores["label"] = Score(0.9), Score(0.1)
    short, long = [Node("a" * 10)], [Node("a" * 500)]
    assert omega._worth(likely, short, 0, 0) == pytest.approx(0.5**0.1 * 0.9 ** (10 / 500))
    assert omega._worth(likely, short, 0, 0) > omega._worth(unlikely, short, 0, 0)
    assert omega._worth(likely, short, 0, 0) > omega._worth(likely, long, 0, 0)
    assert omega._worth(likely, short, 3, 9) == pytest.approx(omega._worth(likely, short, 0, 0) + 0.125 * 3 / 4)


def test_consensus_keeps_responses_whose_first_error_both_see_at_the_same_step():
    def chain(labels: Sequence[float], judged: Sequence[float]) -> Tree:
        tree, at = Tree(Node("p", "prompt")), None
        for label, judge in zip(labels, judged, strict=True):
            at = (at or tree.root).add(Node("s", scores={"label": Score(label), "judge": Score(judge)}))
        return tree

    agree, clean = chain([0.5, 0.0, 0.0], [0.9, 0.1, 0.8]), chain([0.2, 1.0], [0.9, 0.9])
    differ, only_one = chain([0.5, 0.0], [0.1, 0.1]), chain([0.5, 0.1], [0.9, 0.2])
    kept = consensus(Forest([agree, differ, clean, only_one]), "label", "judge")
    assert [len(list(tree.walk())) for tree in kept] == [4, 3]


def test_mutated_lines_are_labelled_by_whether_the_program_still_passes():
    tree = Tree(Node("f(x) = x + 1", "prompt"))
    tree.root.add(Node("y = x\n")).add(Node("return y + 1\n", stop="eos"))
    tree.root.add(Node("return 0\n", stop="eos"))

    def rewrite(lines: list[str], at: int) -> list[str]:
        return [lines[at], lines[at].replace("y + 1", "1 + y"), lines[at].replace("y + 1", "y + 2"), "crash\n"]

    def passes(program: str, tree: Tree) -> bool:
        if "crash" in program:
            raise OSError("no sandbox")
        body = "\n".join(" " + line for line in program.splitlines())
        space: dict = {}
        exec(f"def f(x):\n{body}", space)
        return space["f"](2) == 3

    found = mutate_and_execute(tree, rewrite, passes)
    first, wrong, third = found.root.children
    assert first.value("label") == 1
    assert "label" not in wrong.scores  # it never passed, so no line of it is known to be good
    assert third.scores["label"].missing == "OSError: no sandbox"
    assert [(node.text, node.value("label")) for node in first.children] == [
        ("return y + 1\n", 1.0),
        ("return 1 + y\n", 1.0),
        ("return y + 2\n", 0.0),
        ("crash\n", None),
    ]
    assert len(list(tree.walk())) == 4  # the tree itself is as it was


class Dies(Clerk):
    """Is killed in the middle of the work."""

    def extend(self, prefixes, n, sampling):
        if self.spent.calls == 2:
            raise KeyboardInterrupt
        return super().extend(prefixes, n, sampling)


def test_a_run_that_was_killed_goes_on_where_it_was_and_labels_nothing_twice(tmp_path):
    forest, method = solutions(), MonteCarlo("correct")
    label_forest(forest, method, Completer(Clerk(), ArithmeticVerifier(), 4), tmp_path / "whole", batch=4)
    with pytest.raises(KeyboardInterrupt):
        label_forest(forest, method, Completer(Dies(), ArithmeticVerifier(), 4), tmp_path / "cut", batch=4)
    assert len(open_forest(tmp_path / "cut")) == 8
    again = Completer(Clerk(), ArithmeticVerifier(), 4)
    spent = label_forest(forest, method, again, tmp_path / "cut", batch=4)
    assert again.engine.spent.calls == 1
    whole, cut = open_forest(tmp_path / "whole"), open_forest(tmp_path / "cut")
    labels = [[(node.text, node.scores) for node in trees.nodes()] for trees in (whole, cut)]
    assert labels[0] == labels[1]
    assert spent.calls == json.loads((tmp_path / "cut" / "labels.json").read_text())["spent"]["calls"]
    assert spent.generated == json.loads((tmp_path / "whole" / "labels.json").read_text())["spent"]["generated"]
    assert not any("label" in node.scores for node in forest.nodes())


def test_a_folder_that_was_begun_otherwise_is_refused(tmp_path):
    forest, completer = solutions(1), Completer(Clerk(), ArithmeticVerifier(), 4)
    label_forest(forest, MonteCarlo("correct"), completer, tmp_path / "a", settings={"n": 4})
    with pytest.raises(ConfigError, match="was begun with n = 4, but this call says 8"):
        label_forest(forest, MonteCarlo("correct"), completer, tmp_path / "a", settings={"n": 8})
