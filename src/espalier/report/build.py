"""From what the audit measured to the parts of a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.errors import EspalierError
from espalier.report.parts import Bin, Curve, Overoptimisation, Reliability, Report, Row
from espalier.report.save import to_json

if TYPE_CHECKING:  # drawing a page must not load what measured it
    from espalier.audit import BestOfN, ScorerAudit
    from espalier.search import Found


def row(name: str, found: Found, by: str = "correct") -> Row:
    """A search as a row of the table: its accuracy and what it cost."""
    from espalier.audit import accuracy

    problems, cost = len(found.forest), found.ledger
    return Row(name, accuracy(found, by), cost.generated / problems, cost.scored / problems, cost.seconds)


def reliability_part(audit: ScorerAudit) -> Reliability | None:
    """A scorer's audit as a reliability curve; None where there are no right answers, or no wrong ones."""
    if audit.auc is None:
        return None
    bins = [Bin(bin.score, bin.right, bin.n) for bin in audit.reliability]
    ece = audit.ece.estimate if audit.ece is not None else None
    return Reliability(audit.score, audit.auc, audit.length_auc, ece, bins)


def overoptimisation_part(name: str, points: Sequence[BestOfN]) -> Overoptimisation:
    """Best-of-n by a proxy, as two curves over n."""

    def curve(title: str, of: str) -> Curve:
        intervals = [getattr(point, of) for point in points]
        return Curve(
            title,
            [float(point.n) for point in points],
            [interval.estimate for interval in intervals],
            [interval.low for interval in intervals],
            [interval.high for interval in intervals],
        )

    return Overoptimisation(name, curve("proxy", "proxy"), curve("true", "true"))


def write_report(report: Report, folder: str | Path) -> Path:
    """Keep what was reported as `audit.json` of a run folder, written aside and renamed.

    Raises:
        EspalierError: it could not be written.
    """
    path = Path(folder) / "audit.json"
    aside = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(to_json(report), encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise EspalierError(f"{path}: cannot be written: {error.strerror}") from error
    return path
