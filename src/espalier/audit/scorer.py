"""The whole audit of one scorer: does it rank, is it calibrated, and does it only see length?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from espalier.audit.calibration import Bin, brier, ece, ece_floor, is_probability, reliability
from espalier.audit.intervals import LEVEL, RESAMPLES, Interval, proportion
from espalier.audit.judged import judged
from espalier.audit.ranking import auc, rank_correlation, ranking_accuracy
from espalier.errors import AuditError
from espalier.trees import Forest

MEANING = {
    "base_rate": "share of the answers that are right",
    "auc": "chance that a right answer scores above a wrong one; 0.5 is guessing",
    "ranking": "the same within one problem; what best-of-n lives on",
    "length_auc": "the AUC of shortness alone; a scorer near it (or 1 minus it) may see nothing but length",
    "length_correlation": "rank correlation of score and length; far from 0: the score may be about length",
    "accuracy": "share of the answers on the right side of 0.5",
    "brier": "mean squared error of the probability; lower is better",
    "ece": "by how much the probability is off, ten bins of equal width; 0 is calibrated",
    "ece_floor": "the ece that a perfectly calibrated scorer would have here, from noise alone",
    "ece_mass": "as ece, ten bins of equal mass",
}
"""One line for each figure of a `ScorerAudit`: what it tells the reader."""


@dataclass(frozen=True, slots=True)
class ScorerAudit:
    """What is known of a scorer. A figure is None where the data has none; `MEANING` says what each tells.

    Attributes:
        score: the audited score's name.
        label: the name of what counts as true.
        answers: how many responses have both.
        problems: of how many problems.
        missing: how many responses were left out, by reason.
        auc, ranking: None where no right answer meets a wrong one.
        length_correlation: None where all scores or all lengths are the same.
        accuracy, brier, ece, ece_floor, ece_mass, reliability: None, and empty, where the score is not a probability.
    """

    score: str
    label: str
    answers: int
    problems: int
    missing: dict[str, int]
    base_rate: Interval
    auc: Interval | None
    ranking: Interval | None
    length_auc: Interval | None
    length_correlation: Interval | None
    accuracy: Interval | None
    brier: Interval | None
    ece: Interval | None
    ece_floor: float | None
    ece_mass: Interval | None
    reliability: list[Bin]

    def table(self) -> list[dict[str, str]]:
        """One row for each figure that there is: metric, value with its interval, meaning."""
        figures = {name: getattr(self, name) for name in MEANING}
        return [
            {
                "metric": name,
                "value": f"{value:.3f}" if isinstance(value, float) else str(value),
                "meaning": MEANING[name],
            }
            for name, value in figures.items()
            if value is not None
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def audit_scorer(
    forest: Forest,
    score: str,
    label: str = "correct",
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> ScorerAudit:
    """Audit a score against a label on the responses of a forest.

    Raises:
        AuditError: no response has both, a label is neither 0 nor 1, or all responses are to one problem.
    """
    data = judged(forest, score, label)
    scores, labels, lengths, problems = data.scores, data.labels, data.lengths, data.problems
    count = len(np.unique(problems))
    if count < 2:
        raise AuditError(f"an audit needs responses to at least 2 problems, found {count}")
    drawn: dict[str, Any] = {"level": level, "seed": seed, "resamples": resamples}
    mixed = labels.any() and not labels.all()
    right, of = np.bincount(problems, labels), np.bincount(problems)
    within = np.sum((right > 0) & (right < of))
    varied = np.ptp(scores) > 0 and np.ptp(lengths) > 0
    probability = is_probability(scores)
    return ScorerAudit(
        score,
        label,
        len(scores),
        count,
        data.missing,
        base_rate=proportion(labels, problems, level=level),
        auc=auc(scores, labels, problems, **drawn) if mixed else None,
        ranking=ranking_accuracy(scores, labels, problems, level=level, seed=seed) if within > 1 else None,
        length_auc=auc(-lengths, labels, problems, **drawn) if mixed else None,
        length_correlation=rank_correlation(lengths, scores, problems, **drawn) if varied else None,
        accuracy=proportion((scores >= 0.5) == labels, problems, level=level) if probability else None,
        brier=brier(scores, labels, problems, **drawn) if probability else None,
        ece=ece(scores, labels, problems, **drawn) if probability else None,
        ece_floor=ece_floor(scores) if probability else None,
        ece_mass=ece(scores, labels, problems, binning="mass", **drawn) if probability else None,
        reliability=reliability(scores, labels, problems, level=level) if probability else [],
    )
