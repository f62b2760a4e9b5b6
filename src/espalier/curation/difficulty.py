"""Which problems a policy still finds hard, and problems in stages from easy to hard, by a score of their responses.

iTool (Zeng et al. 2025, arXiv 2501.09766) warms up on data from easy to hard; each later round takes the problems whose
reference responses have the highest perplexity under the policy as it is by then, its deficiencies. Difficulty is minus
a score, averaged over a problem's responses:

    by="likelihood"   `espalier.scorers.Likelihood` of a reference response   log perplexity, nats a token
    by="correct"      a verifier, of the policy's own samples                 minus the pass rate
"""

from __future__ import annotations

import numpy as np

from espalier.curation.take import noted, take
from espalier.errors import ConfigError
from espalier.trees import Forest, Tree


def difficulty(tree: Tree, by: str) -> float | None:
    """Minus the mean score of the responses that have it; None where none has."""
    scores = [value for leaf in tree.leaves() if (value := leaf.value(by)) is not None]
    return -sum(scores) / len(scores) if scores else None


def hardest(forest: Forest, by: str, keep: float) -> Forest:
    """The most difficult problems, noted as "difficulty".

    Args:
        by: a score of the leaves, the higher the easier.
        keep: a share of the trees that have the score, or a number of trees.

    Raises:
        ConfigError: as `how_many` does.
    """
    return take(forest, [difficulty(tree, by) for tree in forest], keep, "difficulty")


def stages(forest: Forest, by: str, count: int) -> list[Forest]:
    """The problems in this many forests of about one size, the easiest first: train on one after the other.

    Trees without the score are in none; of equally difficult ones the earlier come first.

    Args:
        by: a score of the leaves, the higher the easier.

    Raises:
        ConfigError: no stage, or more stages than trees that have the score.
    """
    found = [(value, tree) for tree in forest if (value := difficulty(tree, by)) is not None]
    if not 1 <= count <= len(found):
        raise ConfigError(f"count = {count} stages; expected from 1 to {len(found)}, the trees with a score {by!r}")
    order = np.argsort([value for value, _ in found], kind="stable")
    return [
        Forest([noted(found[i][1].copy(), "difficulty", found[i][0]) for i in part])
        for part in np.array_split(order, count)
    ]
