from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from espalier.audit import maj_at_k, maj_curve, pass_at_k, pass_curve
from espalier.search.aggregate import majority
from espalier.trees import Node, Tree

from .forests import correct, forest_of, respond


def test_pass_at_k_by_hand() -> None:
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(5, 2, 3) == pytest.approx(1 - 1 / 10)  # one of ten triples has no right one
    assert pass_at_k(5, 0, 3) == 0.0
    assert pass_at_k(5, 3, 3) == 1.0


def test_pass_at_k_is_the_mean_over_all_subsets() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            right = [i < c for i in range(n)]
            for k in range(1, n + 1):
                subsets = [any(subset) for subset in combinations(right, k)]
                assert pass_at_k(n, c, k) == pytest.approx(np.mean(subsets))


def test_pass_at_k_does_not_overflow() -> None:
    assert pass_at_k(100_000, 1, 50_000) == pytest.approx(0.5)


@pytest.mark.parametrize(("n", "c", "k"), [(3, 1, 4), (3, 4, 1), (3, 1, 0)])
def test_pass_at_k_refuses_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(n, c, k)


CASES = [
    # answers (None: gives none), who is finished
    ("ab", "11"),
    ("aab", "111"),
    ("aabbc", "11111"),
    ("abcde", "11111"),
    ("aabb-", "11111"),
    ("a--b-", "11111"),
    ("aabbb", "11100"),
    ("ab-ac", "00010"),
    ("abbca", "00000"),
]


@pytest.mark.parametrize(("answers", "finished"), CASES)
def test_maj_at_k_is_the_mean_of_the_search_rooms_vote_over_every_draw(answers: str, finished: str) -> None:
    """Every ordered draw of k leaves is put to `espalier.search.aggregate.majority`; answer "a" is right."""
    tree = Tree(Node("?", "prompt"))
    for letter, done in zip(answers, finished, strict=True):
        respond(tree, letter, {"correct": float(letter == "a")}, "eos" if done == "1" else "length")

    def extract(text: str) -> str | None:
        return None if text[-1] == "-" else text[-1]

    leaves = tree.leaves()
    given, right = [extract(leaf.text) for leaf in leaves], [leaf.value("correct") or 0.0 for leaf in leaves]
    for k in range(1, len(leaves) + 1):
        winners = [majority(draw, extract) for draw in permutations(leaves, k)]
        brute = np.mean([winner is not None and winner.value("correct") == 1 for winner in winners])
        assert maj_at_k(given, right, k, [done == "1" for done in finished]) == pytest.approx(brute)


def test_maj_at_1_is_accuracy_and_at_n_is_the_vote() -> None:
    answers = ["1"] * 30 + ["2"] * 40 + ["3"] * 30
    right = [float(a == "2") for a in answers]
    assert maj_at_k(answers, right, 1, [True] * 100) == pytest.approx(0.4)
    assert maj_at_k(answers, right, 100, [True] * 100) == pytest.approx(1.0)
    assert 0.4 < maj_at_k(answers, right, 16, [True] * 100) < 1.0


def test_equal_answers_of_which_some_are_wrong_count_by_their_share() -> None:
    """Right by luck: the leaf that the vote returns is one of those with the winning answer."""
    assert maj_at_k(["4", "4", "5"], [1, 0, 0], 3, [True] * 3) == pytest.approx(0.5)


def test_curves_over_problems() -> None:
    forest = forest_of([[("4", {"correct": 1}), ("4", {"correct": 1}), ("5", {"correct": 0})], correct(0, 0, 0)])
    passed = pass_curve(forest, [1, 2, 3])
    assert [passed[k].estimate for k in (1, 2, 3)] == pytest.approx([1 / 3, 1 / 2, 1 / 2])
    voted = maj_curve(forest, [1, 3], extract=lambda text: text)
    assert [voted[k].estimate for k in (1, 3)] == pytest.approx([1 / 3, 1 / 2])


def test_problems_with_too_few_judged_samples_are_missing() -> None:
    forest = forest_of([correct(1, 0, "crashed"), correct(1, 1, 0), correct(0, 0, 0)])
    curve = pass_curve(forest, [2, 3])
    assert (curve[2].n, curve[2].missing) == (3, 0)
    assert (curve[3].n, curve[3].missing) == (2, 1)
    with pytest.raises(ValueError, match="pass@4: none of 3 problems has that many samples"):
        pass_curve(forest, [4])


def test_a_score_that_is_not_yes_or_no_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'correct' must be 0 or 1, found 0\.5"):
        pass_curve(forest_of([correct(0.5)]), [1])
