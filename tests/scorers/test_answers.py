from fractions import Fraction

import pytest

from espalier.scorers import final_number, marked_answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 and then 5 more. #### 8", 8),
        ("A: 16", 16),
        ("5 + 3\nA: 1,450,000\n", 1_450_000),
        (r"so \boxed{-\frac{3}{4}}.", Fraction(-3, 4)),
        (r"\boxed{1{,}234\text{ dollars}}", 1234),
        ("The answer is: 42.", 42),
        ("The answer is 5 + 3 = 8 apples", 8),
        ("Answer: 7/8 of a mile", Fraction(7, 8)),
        ("It costs $1,250.50.", Fraction(125050, 100)),
        ("50%", 50),
        ("-$5", -5),
        ("$-5", -5),
        ("it is (-3)", -3),
        ("x = \u22124", -4),
        (".5 m", Fraction(1, 2)),
        ("2.5e-3", Fraction(25, 10_000)),
        ("10-3", 3),  # a difference, not -3
        ("10 - 3", 3),
        ("between 3\u20135", 5),
        ("1,2,3", 3),  # a list, not a thousand
        ("16. ", 16),
        ("1/0", None),
        ("no number", None),
        ("The answer is unknown, though 7 is near", 7),
        ("#### none, but 5 + 3 = ", None),
        ("", None),
    ],
)
def test_the_number_that_a_text_ends_in(text, number):
    assert final_number(text) == number


def test_a_number_as_long_as_a_looping_model_writes_is_read():
    assert final_number("9" * 10_000) == 10**10_000 - 1


def test_a_stronger_mark_counts_before_a_later_weaker_one_and_the_last_of_its_kind_before_earlier_ones():
    assert final_number("#### 5\nThe answer is 6") == 5
    assert final_number("The answer is 4. No, the answer is 5.\nThe second try took 9 minutes") == 5


def test_a_mark_at_the_end_of_a_line_marks_the_next_line():
    assert marked_answer("The answer is:\n12 apples\nand 3 pears") == "12 apples"


def test_only_marked_answers_count_when_asked():
    assert final_number("3 and 4", marked_only=True) is None
    assert final_number("#### 4", marked_only=True) == 4
