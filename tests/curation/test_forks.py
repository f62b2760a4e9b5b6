"""Pairs that fork where a response went wrong: the step is found, the correction is real, nothing else differs."""

import numpy as np

from espalier.curation.forks import first_low, step_pairs
from espalier.curation.injected import injected_pairs, swapped_numbers, wrong_number
from espalier.curation.labels import Completer, MonteCarlo, drive
from espalier.engines import Sampling
from espalier.exact import ExactEngine, Language, Tabular
from espalier.scorers import Verifier
from espalier.trees import Forest, Node, Score, Tree, pairs, split_steps
from espalier.worlds import Arithmetic, ArithmeticStepVerifier

SAMPLING = Sampling(max_tokens=3, seed=0)


class Says(Verifier):
    """1 where the whole response is this one."""

    def __init__(self, right: str) -> None:
        super().__init__("correct")
        self.right = right

    def judge(self, node: Node, tree: Tree) -> Score:
        return Score(float(node.response() == self.right))


def symbols(tree: Tree) -> Tree:
    """A node for each symbol."""
    cut = tree.copy()
    for node in list(cut.walk()):
        if node.parent is not None and len(node.text) > 1:
            above, text = node.parent, node.text
            node.detach()
            for symbol in text[:-1]:
                above = above.add(Node(symbol))
            node.text = text[-1]
            above.add(node)
    return cut


def engine() -> ExactEngine:
    return ExactEngine(Tabular(Language("ab", length=3, end=False)))


def said(*texts: str) -> Forest:
    tree = Tree(Node("ab", "prompt"))
    for text in texts:
        tree.root.add(Node(text, stop="length"))
    return Forest([symbols(tree)])


def valued(forest: Forest, scorer: Says, n: int) -> Forest:
    drive(forest, MonteCarlo(scorer.name, name="value"), Completer(engine(), scorer, n, SAMPLING))
    return forest


def test_the_pair_forks_at_the_first_low_step_and_the_correction_ends_right():
    forest = valued(said("aba", "aaa"), Says("aaa"), 40)
    assert first_low(forest[0].leaves()[0], "value").response() == "ab"
    (tree,) = step_pairs(forest, engine(), Says("aaa"), 40, SAMPLING, by="value", split=symbols)
    (pair,) = pairs(tree)
    assert (pair.chosen.response(), pair.rejected.response()) == ("aa", "ab")
    assert pair.chosen.parent is pair.rejected.parent
    assert [leaf.response() for leaf in forest[0].leaves()] == ["aba", "aaa"]


def test_without_a_right_continuation_there_is_no_pair():
    forest = valued(said("abb"), Says("c"), 4)
    assert list(step_pairs(forest, engine(), Says("c"), 4, SAMPLING, by="value", split=symbols)) == []


def test_an_injected_error_changes_one_step_and_makes_it_wrong():
    forest = Forest([split_steps(tree) for tree in Arithmetic().demonstrations(20, seed=3)])
    checker = ArithmeticStepVerifier("step")
    found = injected_pairs(checker.score(forest), "step", wrong_number, edits=2, seed=1)
    assert len(found) == 40
    for tree in checker.score(found):
        (pair,) = pairs(tree)
        assert pair.chosen.parent is pair.rejected.parent
        assert (pair.chosen.value("step"), pair.rejected.value("step")) == (1.0, 0.0)


def test_numbers_change_places_and_steps_without_two_of_them_are_left_alone():
    rng = np.random.default_rng(0)
    assert swapped_numbers(Node("17-8=9"), rng) in ("8-17=9", "17-9=8")
    assert swapped_numbers(Node("#9"), rng) is None
    assert wrong_number(Node("so"), rng) is None
    assert wrong_number(Node("#0"), rng, most=1) == "#1"
