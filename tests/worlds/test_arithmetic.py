import re
import subprocess
import sys

import numpy as np
import pytest

from espalier.trees import Forest, Node, Tree
from espalier.worlds.arithmetic import (
    ALPHABET,
    Arithmetic,
    ArithmeticStepVerifier,
    ArithmeticVerifier,
    check_steps,
    final_answer,
    solve,
    split_of,
)

WORLD = Arithmetic(levels=(1, 2, 3, 4), largest=60)


def tree_with(prompt: str, *leaves: Node) -> Tree:
    tree = Tree(Node(prompt, "prompt"), meta={"answer": str(eval(prompt.removesuffix("=\n")))})
    for leaf in leaves:
        tree.root.add(leaf)
    return tree


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_worked_solutions_are_what_python_computes(split):
    for tree in WORLD.demonstrations(300, split):
        expression = tree.prompt.removesuffix("=\n")
        (leaf,) = tree.leaves()
        assert tree.meta["answer"] == str(eval(expression)) == final_answer(leaf.text)
        assert leaf.text.count("\n") == tree.meta["level"] == sum(map(expression.count, "+-*"))
        assert set(tree.prompt + leaf.text) <= set(ALPHABET)


def test_both_verifiers_accept_every_worked_solution():
    forest = ArithmeticStepVerifier().score(ArithmeticVerifier().score(WORLD.demonstrations(300)))
    assert all(leaf.value("correct") == leaf.value("step") == 1 for leaf in forest.leaves())


def test_no_problem_is_in_both_splits_whatever_the_seed():
    small = Arithmetic(levels=(1,), largest=30)
    train = {tree.prompt for seed in range(3) for tree in small.problems(300, "train", seed)}
    held_out = {tree.prompt for seed in range(3) for tree in small.problems(60, "held_out", seed)}
    assert len(train) > 300
    assert not train & held_out
    assert {split_of(prompt) for prompt in held_out} == {"held_out"}


def test_problems_differ_from_each_other_and_share_the_levels_equally():
    forest = WORLD.problems(400)
    assert len({tree.prompt for tree in forest}) == len({tree.id for tree in forest}) == 400
    assert [sum(tree.meta["level"] == level for tree in forest) for level in WORLD.levels] == [100] * 4


def test_the_same_seed_gives_the_same_problems_in_another_process():
    code = "from espalier.worlds import Arithmetic; print([t.prompt for t in Arithmetic().problems(5, seed=3)])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str([tree.prompt for tree in Arithmetic().problems(5, seed=3)])
    assert printed.strip() != str([tree.prompt for tree in Arithmetic().problems(5, seed=4)])


def test_a_world_that_is_too_small_says_so():
    with pytest.raises(ValueError, match=r"found only \d+ different held_out problems, expected 100"):
        Arithmetic(levels=(1,), largest=9).problems(100, "held_out")


@pytest.mark.parametrize(
    ("prompt", "response", "verdicts"),
    [
        ("2+3*4-1=\n", "3*4=12\n12-1=11\n2+11=13\n#13", [True, True, True, True]),
        ("2+3*4-1=\n", "2-1=1\n4*3=12\n1+12=13\n#13", [True, True, True, True]),  # another order
        ("9-3+4=\n", "3+4=7\n9-7=2\n#2", [False, False, False]),  # 9-(3+4) is another problem
        ("3-5+4=\n", "3-5=-2\n4-2=2\n#2", [False, False, False]),  # nothing goes below zero
        ("3-5+4=\n", "4+3=7\n7-5=2\n#2", [True, True, True]),
        ("2*3*4+2*3=\n", "2*3=6\n6*4=24\n2*3=6\n24+6=30\n#30", [True] * 5),  # either 2*3 may be meant at first
        ("2*3*4+2*3=\n", "2*3=6\n6+6=12\n#12", [True, False, False]),
        ("2+2=\n", "2+2=4\n4+2=6\n#6", [True, False, False]),  # each number is used once
        ("2+3*4=\n", "2+3=5\n5*4=20\n#20", [False, False, False]),  # precedence
        ("9-2*3=\n", "2*3=6\n9-6=3\n#3", [True, True, True]),
        ("2*3*4=\n", "3*4=12\n2*12=24\n#24", [True, True, True]),
        ("2+3*4=\n", "3*4=12\n2+12=15\n#15", [True, False, False]),  # a slip spoils what follows
        ("2+3*4=\n", "3*4=13\n2+12=14\n#14", [False, False, False]),  # ... even where the end is right
        ("2+3*4=\n", "3*4=12\n#12", [True, False]),  # an answer before its time
        ("2+3*4=\n", "3*4=12\n#14", [True, True]),  # the rest done in the head
        ("2+3*4=\n", "3*4=12\n2+12=14\n#14\n#14", [True, True, True, False]),  # and after
        ("2+3=\n", "2+3=5\n2+3=5", [True, False]),
        ("2+3=\n", "", []),
        ("2+3=\n", "\n#5", [False, False]),
    ],
)
def test_steps_are_judged_by_what_is_left_of_the_problem(prompt, response, verdicts):
    assert check_steps(prompt, response) == verdicts


def test_step_scores_sit_on_every_node_and_say_whether_all_is_right_so_far():
    tree = tree_with("2+3*4=\n")
    first = tree.root.add(Node("3*4=12\n", stop="stop"))
    right, wrong = first.add(Node("2+12=14\n", stop="stop")), first.add(Node("2+12=15\n", stop="stop"))
    marked = right.add(Node("#14", stop="eos"))
    ArithmeticStepVerifier().score(Forest([tree]))
    assert [node.value("step") for node in (first, right, wrong, marked)] == [1, 1, 0, 1]
    assert tree.root.scores == {}


def test_a_cut_response_is_wrong_and_a_pausing_one_is_not_judged():
    cut, paused = Node("2+3=5\n#5", stop="length"), Node("2+3=5\n", stop="stop")
    unmarked, marked = Node("2+3=5", stop="eos"), Node("2+3=5\n#5", stop="eos")
    ArithmeticVerifier().score(Forest([tree_with("2+3=\n", cut, paused, unmarked, marked)]))
    assert [leaf.value("correct") for leaf in (cut, unmarked, marked)] == [0, 0, 1]
    assert "correct" not in paused.scores


def test_worked_solutions_take_different_orders():
    tree = WORLD.problems(4)[3]
    orders = {"\n".join(solve(tree.prompt, np.random.default_rng(seed))) for seed in range(20)}
    assert len(orders) > 5
    assert all(all(check_steps(tree.prompt, order)) for order in orders)


def test_a_share_of_the_worked_solutions_skips_its_last_two_operations_and_is_right_all_the_same():
    forest = ArithmeticStepVerifier().score(ArithmeticVerifier().score(WORLD.demonstrations(400, skip=0.5)))
    written = [tree.meta["level"] - tree.leaves()[0].text.count("\n") for tree in forest if tree.meta["level"] > 1]
    assert set(written) == {0, 2}
    assert 0.4 < sum(skipped == 2 for skipped in written) / len(written) < 0.6
    assert all(leaf.value("correct") == leaf.value("step") == 1 for leaf in forest.leaves())


def test_no_number_on_the_way_leaves_the_range():
    forest = Arithmetic(levels=(4,), largest=20).demonstrations(300)
    numbers = [int(number) for leaf in forest.leaves() for number in re.findall(r"\d+", leaf.text)]
    assert 100 < max(numbers) < 210


def test_a_problem_of_another_world_is_missing_and_not_wrong():
    tree = Tree(Node("How many?\n", "prompt"), meta={"answer": "5"})
    leaf = tree.root.add(Node("#5", stop="eos"))
    ArithmeticStepVerifier().score(Forest([tree]))
    assert leaf.scores["step"].is_missing
    assert "How many?" in leaf.scores["step"].missing
