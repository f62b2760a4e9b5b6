import json

import pytest

from espalier.scorers import (
    ExactMatch,
    FormatMatch,
    MathMatch,
    MissingRateError,
    NumericMatch,
    Scorer,
    Verifier,
    check_missing,
)
from espalier.trees import Forest, Node, Score, Tree


def tree_of(answer: object, *responses: str | Node) -> Tree:
    tree = Tree(Node("How many?\n", "prompt"), meta={} if answer is None else {"answer": answer})
    for response in responses:
        tree.root.add(response if isinstance(response, Node) else Node(response, stop="eos"))
    return tree


def verdicts(verifier: Verifier, answer: object, *responses: str | Node) -> list[float | None]:
    forest = verifier.score(Forest([tree_of(answer, *responses)]))
    return [leaf.value(verifier.name) for leaf in forest.leaves()]


@pytest.mark.parametrize("verifier", [NumericMatch(), MathMatch()])
def test_agrees_with_every_label_of_the_gsm8k_model_solutions(gsm8k, verifier):
    rows = [json.loads(line) for line in (gsm8k / "model_solutions.jsonl").open(encoding="utf-8")]
    forest = verifier.score(Forest([tree_of(row["ground_truth"], row["solution"]) for row in rows]))
    assert len(rows) == 3520
    assert [leaf.value("correct") for leaf in forest.leaves()] == [float(row["is_correct"]) for row in rows]


@pytest.mark.parametrize(("file", "count"), [("train.jsonl", 7473), ("test_first_half.jsonl", 660)])
def test_accepts_every_reference_solution_of_gsm8k(gsm8k, file, count):
    answers = [json.loads(line)["answer"] for line in (gsm8k / file).open(encoding="utf-8")]
    bare = [answer.split("####")[1] for answer in answers]
    forest = NumericMatch().score(Forest([tree_of(b, a) for a, b in zip(answers, bare, strict=True)]))
    assert sum(leaf.value("correct") == 1 for leaf in forest.leaves()) == len(answers) == count


def test_a_number_may_be_written_in_any_way_but_must_be_the_number():
    assert verdicts(NumericMatch(), "#### 1,250", "A: $1250.00", "1250.0000000001", "1250.01", "1251", "?") == [
        1,
        1,
        0,
        0,
        0,
    ]


def test_a_reference_may_be_a_number_and_not_a_text():
    assert verdicts(NumericMatch(), 0.5, "1/2", "0") == [1, 0]


@pytest.mark.parametrize("verifier", [NumericMatch(), MathMatch()])
def test_a_cut_response_counts_only_by_a_marked_answer(verifier):
    cut = [Node("so 3*4 = 12", stop="length"), Node("#### 12\nand", stop="length")]
    assert verdicts(verifier, "12", *cut) == [0, 1]


def test_mathematical_equality_goes_beyond_numbers():
    assert verdicts(MathMatch(), r"$\frac{1}{2}$", r"So \boxed{0.5}.", r"\boxed{\frac{2}{3}}", "words") == [1, 0, 0]
    assert verdicts(MathMatch(), r"\boxed{x+1}", r"\boxed{1+x}", r"\boxed{x-1}") == [1, 0]


def test_exact_match_compares_marked_answers_or_else_whole_texts():
    assert verdicts(ExactMatch(), "Paris", " Paris\n", "It is big. The answer is Paris", "paris") == [1, 1, 0]


def test_the_format_needs_no_reference_and_must_hold_for_the_whole_response():
    assert verdicts(FormatMatch(r".*\n#### \d+"), None, "2+2\nis 4\n#### 4", "2+2\n#### 4 or so") == [1, 0]


@pytest.mark.parametrize("verifier", [ExactMatch(), NumericMatch(), MathMatch()])
@pytest.mark.parametrize("answer", [None, "  "])
def test_without_a_reference_the_score_is_missing_and_not_zero(verifier, answer):
    (leaf,) = verifier.score(Forest([tree_of(answer, "16")])).leaves()
    assert "no meta['answer']" in leaf.scores["correct"].missing


@pytest.mark.parametrize("verifier", [NumericMatch(), MathMatch()])
def test_a_reference_that_cannot_be_read_is_missing_and_quoted(verifier):
    (leaf,) = verifier.score(Forest([tree_of("(see below)", "16")])).leaves()
    assert "(see below)" in leaf.scores["correct"].missing


class Fragile(Verifier):
    """Fails on what it finds written in the response."""

    def __init__(self) -> None:
        super().__init__("fragile")
        self.judged = 0

    def judge(self, node: Node, tree: Tree) -> Score:
        self.judged += 1
        if node.text == "slow":
            raise TimeoutError("took longer than 5 s")
        return Score(1.0)


def test_a_crash_is_a_missing_score_with_its_reason_and_the_others_are_judged():
    forest = Fragile().score(Forest([tree_of(None, "a", "slow", "b")]))
    scores = [leaf.scores["fragile"] for leaf in forest.leaves()]
    assert [score.value for score in scores] == [1, None, 1]
    assert scores[1].missing == "TimeoutError: took longer than 5 s"


def test_scoring_a_grown_tree_again_judges_only_what_is_new():
    verifier, forest = Fragile(), Forest([tree_of(None, "a", "slow")])
    verifier.score(forest)
    forest[0].root.add(Node("c", stop="eos"))
    forest[0].root.add(Node("step\n", stop="stop"))  # only pauses
    verifier.score(forest)
    assert verifier.judged == 3
    assert verifier.spent.calls == 2
    assert [leaf.value("fragile") for leaf in forest.leaves()] == [1, None, 1, None]
    assert isinstance(verifier, Scorer)


def test_a_bare_prompt_has_nothing_to_judge():
    forest = Fragile().score(Forest([tree_of("4")]))
    assert not any(node.scores for node in forest.nodes())


def test_too_many_missing_scores_stop_the_run_and_say_why():
    forest = Fragile().score(Forest([tree_of(None, *"abc", "slow")]))
    assert check_missing(forest, "fragile", limit=0.25) == 0.25
    with pytest.raises(MissingRateError, match=r"1 of 4 scores 'fragile' are missing \(25.0%.*1 times TimeoutError"):
        check_missing(forest, "fragile", limit=0.2)


def test_a_score_that_nobody_gave_is_not_a_missing_rate_of_zero():
    with pytest.raises(MissingRateError, match="no node has a score 'corect'"):
        check_missing(Fragile().score(Forest([tree_of(None, "a")])), "corect")
