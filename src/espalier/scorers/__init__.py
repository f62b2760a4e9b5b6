"""Who says what is good."""

from espalier.scorers.answers import final_number, marked_answer
from espalier.scorers.base import Scorer
from espalier.scorers.leaves import Verifier
from espalier.scorers.missing import MissingRateError, check_missing
from espalier.scorers.verifiers import ExactMatch, FormatMatch, MathMatch, NumericMatch

__all__ = [
    "ExactMatch",
    "FormatMatch",
    "MathMatch",
    "MissingRateError",
    "NumericMatch",
    "Scorer",
    "Verifier",
    "check_missing",
    "final_number",
    "marked_answer",
]
