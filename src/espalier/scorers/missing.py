"""The guard against scores that are missing too often."""

from __future__ import annotations

from collections import Counter

from espalier.errors import TrainingError
from espalier.trees import Forest


class MissingRateError(TrainingError):
    """A scorer could not judge so many nodes that what is left cannot be trusted."""


def check_missing(forest: Forest, name: str, limit: float = 0.05) -> float:
    """The share of the scores called `name` that are missing; nodes without such a score do not count.

    Raises:
        MissingRateError: the share is above `limit` (the commonest reasons are listed), or no node has the score.
    """
    scores = [node.scores[name] for node in forest.nodes() if name in node.scores]
    if not scores:
        raise MissingRateError(f"no node has a score {name!r}: run its scorer first, or check the name")
    reasons = Counter(score.missing for score in scores if score.missing is not None)
    rate = reasons.total() / len(scores)
    if rate > limit:
        common = "; ".join(f"{count} times {reason}" for reason, count in reasons.most_common(3))
        raise MissingRateError(
            f"{reasons.total()} of {len(scores)} scores {name!r} are missing "
            f"({rate:.1%}, expected at most {limit:.1%}): {common}. Mend the scorer or its data, or raise the limit"
        )
    return rate
