"""Data that fine-tuning on the target made likelier: conditional loss reduction (CoLoR-Filter).

Brandfonbrener et al. 2024 (arXiv 2406.10670). Two small models are enough: a prior, trained on the corpus as it is, and
the conditional model, which is the prior after a little of the target. A text is worth

    log conditional(text) - log prior(text),

the loss that the target has taught away; the texts of the greatest reduction are kept. The conditional model alone
would keep what is easy for any model; the prior takes that out.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from espalier.curation.likelihood import response_logprob
from espalier.curation.take import take
from espalier.trees import Forest, Tree


def loss_reduction(
    prior: Float[np.ndarray, "texts"], conditional: Float[np.ndarray, "texts"]
) -> Float[np.ndarray, "texts"]:
    """By how much the conditional model's loss is below the prior's; nats, of texts of one length or for each token."""
    return np.asarray(prior) - np.asarray(conditional)


def color_filter(forest: Forest, prior: str, conditional: str, keep: float) -> Forest:
    """The trees whose responses lost most, in nats a token (texts differ in length); noted as "color".

    Args:
        prior, conditional: streams of the two models' log-probs (`espalier.scorers.ReferenceLogProbs`).
        keep: a share of the trees with both streams, or a number. Of tau candidates for each text kept: 1 / tau.
    """

    def reduction(tree: Tree) -> float | None:
        found = []
        for leaf in tree.leaves():
            before = response_logprob(leaf, prior, average=True)
            after = response_logprob(leaf, conditional, average=True)
            if before is not None and after is not None:
                found.append(after - before)
        return sum(found) / len(found) if found else None

    return take(forest, [reduction(tree) for tree in forest], keep, "color")
