"""What to learn from next: pruning trees by what their leaves turned out to be worth."""

from espalier.curation.prune import best_and_worst, informative, keep_above

__all__ = ["best_and_worst", "informative", "keep_above"]
