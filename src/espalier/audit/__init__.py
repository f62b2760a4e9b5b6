"""Is it really better? Functions on forests and arrays; every result has an interval, and none needs a model."""

from espalier.audit.accuracy import accuracy, outcomes
from espalier.audit.at_k import maj_at_k, maj_curve, pass_at_k, pass_curve
from espalier.audit.calibration import Bin, brier, ece, ece_floor, reliability
from espalier.audit.intervals import Interval, bootstrap, mean, proportion
from espalier.audit.judged import Judged, judged
from espalier.audit.overoptimisation import BestOfN, expected_best, overoptimisation
from espalier.audit.paired import Paired, compare, paired
from espalier.audit.ranking import auc, rank_correlation, ranking_accuracy
from espalier.audit.scorer import MEANING, ScorerAudit, audit_scorer

__all__ = [
    "MEANING",
    "BestOfN",
    "Bin",
    "Interval",
    "Judged",
    "Paired",
    "ScorerAudit",
    "accuracy",
    "auc",
    "audit_scorer",
    "bootstrap",
    "brier",
    "compare",
    "ece",
    "ece_floor",
    "expected_best",
    "judged",
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
