"""Who says what is good. Scorers that are models load torch, and only when they are first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from espalier.scorers.answers import final_number, marked_answer
from espalier.scorers.base import Scorer
from espalier.scorers.leaves import Verifier
from espalier.scorers.missing import MissingRateError, check_missing
from espalier.scorers.steps import Steps, combine
from espalier.scorers.verifiers import ExactMatch, FormatMatch, MathMatch, NumericMatch

if TYPE_CHECKING:
    from espalier.scorers.certainty import Certainty, Entropy, Likelihood, SelfCertainty
    from espalier.scorers.code import RunTime, SteppedReward, UnitTests, pass_matrix
    from espalier.scorers.implicit import ImplicitProcess
    from espalier.scorers.models import ImplicitReward, ModelScorer, RewardScorer, ValueScorer
    from espalier.scorers.reference import ReferenceLogProbs, stream_name
    from espalier.scorers.tokens import TokenView
    from espalier.scorers.tool_augmented import Rating, ToolAugmented
    from espalier.scorers.tool_calls import ToolCallReward

__all__ = [
    "Certainty",
    "Entropy",
    "ExactMatch",
    "FormatMatch",
    "ImplicitProcess",
    "ImplicitReward",
    "Likelihood",
    "MathMatch",
    "MissingRateError",
    "ModelScorer",
    "NumericMatch",
    "Rating",
    "ReferenceLogProbs",
    "RewardScorer",
    "RunTime",
    "Scorer",
    "SelfCertainty",
    "SteppedReward",
    "Steps",
    "TokenView",
    "ToolAugmented",
    "ToolCallReward",
    "UnitTests",
    "ValueScorer",
    "Verifier",
    "check_missing",
    "combine",
    "final_number",
    "marked_answer",
    "pass_matrix",
    "stream_name",
]


def __getattr__(name: str) -> Any:
    if name in ("Certainty", "Entropy", "Likelihood", "SelfCertainty"):
        return getattr(import_module("espalier.scorers.certainty"), name)
    if name in ("ImplicitReward", "ModelScorer", "RewardScorer", "ValueScorer"):
        return getattr(import_module("espalier.scorers.models"), name)
    if name == "ImplicitProcess":
        return import_module("espalier.scorers.implicit").ImplicitProcess
    if name in ("ReferenceLogProbs", "stream_name"):
        return getattr(import_module("espalier.scorers.reference"), name)
    if name in ("RunTime", "SteppedReward", "UnitTests", "pass_matrix"):
        return getattr(import_module("espalier.scorers.code"), name)
    if name in ("Rating", "ToolAugmented"):
        return getattr(import_module("espalier.scorers.tool_augmented"), name)
    if name == "ToolCallReward":
        return import_module("espalier.scorers.tool_calls").ToolCallReward
    if name == "TokenView":
        return import_module("espalier.scorers.tokens").TokenView
    raise AttributeError(f"module 'espalier.scorers' has no attribute {name!r}")
