"""Is it really better? Functions on forests and arrays; every result has an interval, and none needs a model."""

from espalier.audit.accuracy import accuracy, outcomes
from espalier.audit.at_k import maj_at_k, maj_curve, pass_at_k, pass_curve
from espalier.audit.calibration import Bin, brier, ece, ece_floor, reliability
from espalier.audit.intervals import Interval, bootstrap, mean, proportion
from espalier.audit.judged import Judged, judged
from espalier.audit.likelihood import likelihood_utility
from espalier.audit.overoptimisation import BestOfN, expected_best, overoptimisation
from espalier.audit.paired import Paired, compare, paired
from espalier.audit.ranking import auc, rank_correlation, ranking_accuracy
from espalier.audit.scorer import MEANING, ScorerAudit, audit_scorer
from espalier.audit.search import Comparison, Pick, Point, compare_strategies, cost_of_pass

__all__ = [
    "MEANING",
    "BestOfN",
    "Bin",
    "Comparison",
    "Interval",
    "Judged",
    "Paired",
    "Pick",
    "Point",
    "ScorerAudit",
    "accuracy",
    "auc",
    "audit_scorer",
    "bootstrap",
    "brier",
    "compare",
    "compare_strategies",
    "cost_of_pass",
    "ece",
    "ece_floor",
    "expected_best",
    "judged",
    "likelihood_utility",
    "maj_at_k",
    "maj_curve",
    "mean",
    "outcomes",
    "overoptimisation",
    "paired",
    "pass_at_k",
    "pass_curve",
    "proportion",
    "rank_correlation",
    "ranking_accuracy",
    "reliability",
]
