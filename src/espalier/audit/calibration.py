"""Does a probability mean what it says? Of the answers scored 0.7, seven in ten should be right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from espalier.audit.intervals import LEVEL, RESAMPLES, Interval, bootstrap, proportion
from espalier.errors import AuditError

Binning = Literal["width", "mass"]


@dataclass(frozen=True, slots=True)
class Bin:
    """One point of the reliability curve.

    Attributes:
        low: the smallest score that falls into the bin.
        high: the largest (equal width: the edge itself).
        n: how many answers it holds.
        score: their mean score.
        right: the share of them that is right; a calibrated scorer's interval holds `score`, 19 times of 20.
    """

    low: float
    high: float
    n: int
    score: float
    right: Interval


def brier(
    scores: Float[ndarray, "items"],
    labels: Bool[ndarray, "items"],
    problems: Int[ndarray, "items"],
    *,
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean squared error of the probability (Brier 1950); 0 is perfect, always saying the base rate p gives p(1 -
    p).

    Raises:
        AuditError: a score is not a probability.
    """
    _check(scores)
    errors = (scores - labels) ** 2
    return bootstrap(
        lambda weights: weights @ errors / weights.sum(1), problems, level=level, seed=seed, resamples=resamples
    )


def ece(
    scores: Float[ndarray, "items"],
    labels: Bool[ndarray, "items"],
    problems: Int[ndarray, "items"],
    *,
    bins: int = 10,
    binning: Binning = "width",
    level: float = LEVEL,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Expected calibration error: by how much the score is off, averaged over bins: `sum n_b/n |right_b - score_b|`.

    Naeini et al. 2015. Noise in small bins counts as error, so that on few answers even a perfect scorer is above 0,
    and its interval too: compare with `ece_floor`. With equal mass no bin is nearly empty.

    Raises:
        AuditError: a score is not a probability.
    """
    bin_of = _bin(scores, bins, binning)
    of_bin = (bin_of[:, None] == np.unique(bin_of)) * (labels - scores)[:, None]
    return bootstrap(
        lambda weights: np.abs(weights @ of_bin).sum(1) / weights.sum(1),
        problems,
        level=level,
        seed=seed,
        resamples=resamples,
    )


def ece_floor(scores: Float[ndarray, "items"], *, bins: int = 10, binning: Binning = "width") -> float:
    """The `ece` to expect of a perfectly calibrated scorer that gave these very scores: what is only noise.

    With independent labels the error of a bin is close to normal with variance `sum s(1 - s)`, of which the mean
    absolute value is known. Labels that are alike within a problem raise it somewhat.

    Raises:
        AuditError: a score is not a probability.
    """
    variances = np.bincount(_bin(scores, bins, binning), scores * (1 - scores))
    return float(np.sqrt(2 / np.pi * variances).sum() / len(scores))


def reliability(
    scores: Float[ndarray, "items"],
    labels: Bool[ndarray, "items"],
    problems: Int[ndarray, "items"],
    *,
    bins: int = 10,
    binning: Binning = "width",
    level: float = LEVEL,
) -> list[Bin]:
    """The reliability curve: for each bin that is not empty, the mean score and the share that is right.

    Raises:
        AuditError: a score is not a probability.
    """
    bin_of = _bin(scores, bins, binning)
    curve = []
    for number in np.unique(bin_of):
        here = bin_of == number
        inside = scores[here]
        low, high = (number / bins, (number + 1) / bins) if binning == "width" else (inside.min(), inside.max())
        right = proportion(labels[here], problems[here], level=level)
        curve.append(Bin(float(low), float(high), int(here.sum()), float(inside.mean()), right))
    return curve


def is_probability(scores: Float[ndarray, "items"]) -> bool:
    """Whether every score lies in [0, 1]."""
    return bool(((scores >= 0) & (scores <= 1)).all())


def _check(scores: Float[ndarray, "items"]) -> None:
    if not is_probability(scores):
        raise AuditError(f"calibration needs probabilities, found scores from {scores.min():.3g} to {scores.max():.3g}")


def _bin(scores: Float[ndarray, "items"], bins: int, binning: Binning) -> Int[ndarray, "items"]:
    """The bin of each score: [0, 1/bins), ..., [1 - 1/bins, 1], or of equal mass with equal scores kept together."""
    _check(scores)
    if binning == "width":
        return np.minimum((scores * bins).astype(int), bins - 1)
    inner = np.quantile(scores, np.arange(1, bins) / bins, method="higher")
    return np.searchsorted(inner, scores, side="right")
