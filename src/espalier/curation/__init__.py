"""What to learn from next: pruning, acquisition, routing and selection. Forests in, forests out; nothing is trained.

What a method went by is noted in `tree.meta["curation"]`; docs/selection.md has them in one table.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from espalier.curation.clear import clear
from espalier.curation.color_filter import color_filter, loss_reduction
from espalier.curation.d_optimal import Design, d_optimal, information, most_informative
from espalier.curation.difficulty import difficulty, hardest, stages
from espalier.curation.dsir import dsir, gumbel_top_k, kl_reduction, log_weights
from espalier.curation.entropy import predictive_entropy, uncertain
from espalier.curation.likelihood import response_logprob
from espalier.curation.margins import acquire, by_margin, certain_among_uncertain, certainty
from espalier.curation.ngrams import hashed_ngrams
from espalier.curation.prune import best_and_worst, informative, keep_above
from espalier.curation.routing import PerformancePredictor, annotators, random_mixtures, route

if TYPE_CHECKING:
    from espalier.curation.features import last_hidden
    from espalier.curation.information_gain import GainLearner, above_gain, falling, information_gains

__all__ = [
    "Design",
    "GainLearner",
    "PerformancePredictor",
    "above_gain",
    "acquire",
    "annotators",
    "best_and_worst",
    "by_margin",
    "certain_among_uncertain",
    "certainty",
    "clear",
    "color_filter",
    "d_optimal",
    "difficulty",
    "dsir",
    "falling",
    "gumbel_top_k",
    "hardest",
    "hashed_ngrams",
    "information",
    "information_gains",
    "informative",
    "keep_above",
    "kl_reduction",
    "last_hidden",
    "log_weights",
    "loss_reduction",
    "most_informative",
    "predictive_entropy",
    "random_mixtures",
    "response_logprob",
    "route",
    "stages",
    "uncertain",
]


def __getattr__(name: str) -> Any:
    if name == "last_hidden":  # it loads torch and models
        return import_module("espalier.curation.features").last_hidden
    if name in ("GainLearner", "above_gain", "falling", "information_gains"):  # these load torch
        return getattr(import_module("espalier.curation.information_gain"), name)
    raise AttributeError(f"module 'espalier.curation' has no attribute {name!r}")
