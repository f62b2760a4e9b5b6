r"""Find the answer that a text gives, and the number in it.

Solutions mark their answer in a few ways: GSM8K's "#### 16" and "A: 16", \boxed{16}, "the answer is 16". Where
nothing is marked, the last number is taken.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

_MARKS = (
    re.compile(r"####"),
    re.compile(r"\\boxed\s*(?=\{)"),
    re.compile(r"^\s*A:|\banswer\s*(?:is|:)\s*:?", re.IGNORECASE | re.MULTILINE),
)
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{{1,3}}(?!\w))?"
# A sign belongs to a number only where it touches the number and nothing before it: (-3), but 10-3 and 10 - 3.
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w).%}}])-)?(?:[$€£]\s*)?(?P<minus>(?<=[$€£])-)?"
    rf"(?:\\[dt]?frac\s*\{{(?P<over>-?\d+)\}}\s*\{{(?P<under>\d+)\}}|(?P<top>{_DECIMAL})(?:\s*/\s*(?P<bottom>{_DECIMAL}))?)"
)
_LATEX = ((r"{,}", ","), (r"\,", ""), (r"\!", ""), (r"\$", "$"), (r"\%", "%"), ("\u2212", "-"), ("\u2013", "-"))


def marked_answer(text: str) -> str | None:
    r"""What stands after the text's last answer mark, to the end of that line; None where nothing is marked.

    "####" counts before \boxed{}, and that before "A:" and "the answer is".

    >>> marked_answer("3*8=24\n#### 24"), marked_answer(r"So \boxed{\frac{1}{2}}."), marked_answer("24")
    ('24', '\\frac{1}{2}', None)
    """
    for mark in _MARKS:
        found = list(mark.finditer(text))
        if found:
            rest = text[found[-1].end() :].lstrip()
            return _inside_braces(rest) if rest.startswith("{") else rest.split("\n")[0].strip()
    return None


def final_number(text: str, *, marked_only: bool = False) -> Fraction | None:
    """The number that the text gives as its answer, or None where it gives none.

    In a marked answer this is the first number, or the first after the last "=" in it; without a mark it is the last
    number of the whole text. Currency signs, units and % are dropped, so 50% is 50.

    Args:
        text: a response or a reference answer.
        marked_only: without a mark there is no answer.

    >>> final_number("She pays $1,250.50 in all."), final_number("A: 3/4 of a mile"), final_number("none")
    (Fraction(2501, 2), Fraction(3, 4), None)
    """
    marked = marked_answer(text)
    if marked is not None:
        numbers = _numbers(marked.rsplit("=", 1)[-1])
        return numbers[0] if numbers else None
    numbers = [] if marked_only else _numbers(text)
    return numbers[-1] if numbers else None


def _inside_braces(text: str) -> str:
    """What the braces that open the text enclose; all of it where they are never closed."""
    depth = 0
    for at, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[1:at]
    return text[1:]


def _numbers(text: str) -> list[Fraction]:
    for latex, plain in _LATEX:
        text = text.replace(latex, plain)
    return [number for found in _NUMBER.finditer(text) if (number := _value(found)) is not None]


def _value(found: re.Match[str]) -> Fraction | None:
    """The number of a match; None for a division by zero."""
    top, bottom = found["over"] or found["top"], found["under"] or found["bottom"] or "1"
    under = Fraction(Decimal(bottom.replace(",", "")))  # Decimal: int() refuses what a looping model can write
    if not under:
        return None
    value = Fraction(Decimal(top.replace(",", ""))) / under
    return -value if found["sign"] or found["minus"] else value
