"""Train on the pairs whose labels a reference model clearly agrees with.

Diwan et al. 2025 (arXiv 2501.15109): pairs of a clear difference in quality teach DPO more, and the reference policy's
own probabilities tell them, without another model. They keep 30 to 50 % of the data. Their exact rule could not be
checked against the text; here it is the signed gap, so that a label against the reference's opinion goes first.
"""

from __future__ import annotations

from espalier.curation.likelihood import response_logprob
from espalier.curation.take import take
from espalier.trees import Forest, Tree
from espalier.trees.views import pairs


def clear(forest: Forest, stream: str, keep: float = 0.4, label: str = "preference") -> Forest:
    """The trees whose label the reference agrees with most: `log reference(chosen) - log reference(rejected)`, nats.

    The gap is noted as `tree.meta["curation"]["clear"]`; of several pairs in a tree the greatest counts.

    Args:
        stream: the reference's log-probs (`espalier.scorers.ReferenceLogProbs`, or `espalier score`).
        keep: a share of the trees that have a pair with both log-probs, or a number of trees.
        label: the score that says which response is better.
    """

    def gap(tree: Tree) -> float | None:
        found = [
            (response_logprob(pair.chosen, stream), response_logprob(pair.rejected, stream))
            for pair in pairs(tree, label)
        ]
        return max((one - other for one, other in found if one is not None and other is not None), default=None)

    return take(forest, [gap(tree) for tree in forest], keep, "clear")
