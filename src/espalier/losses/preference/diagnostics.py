"""What to watch while preferences are trained: who is ranked right, who falls, and where the mass goes.

The loss of a pair falls with its margin, and the margin says little about the policy: it grows too when the chosen
response falls and the rejected one falls faster. So each pair, each response and each token gets a number of its own
here; like losses they are not averaged (`espalier.losses.reduce`), and no gradient is meant to flow through them.
Watch the log-ratios of the chosen, of the rejected and of *unseen* responses, and these. A shape `pairs` or `tokens`
is what a batch has; `*_logprob` is log policy of a whole response, `*_reference` log reference, in nats.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from espalier.losses.divergences import log_rest
from espalier.losses.preference.core import Pairs, logistic

Marks = Bool[Tensor, "pairs"]


def ranked(chosen_logprob: Pairs, rejected_logprob: Pairs) -> Marks:
    """Whether the policy finds the chosen response more likely; the mean is the ranking accuracy.

    Chen et al. 2024 (arXiv 2405.19534). DPO's "reward accuracy" is this of log-ratios: it asks for less.
    """
    return chosen_logprob > rejected_logprob


def ideally_ranked(chosen_reference: Pairs, rejected_reference: Pairs, agreement: float | Pairs, beta: float) -> Marks:
    """Whether the exact optimum of DPO and of RLHF ranks the pair right; the mean bounds what `ranked` can be.

    The optimum has the odds `reference odds * (agreement / (1 - agreement))^(1 / beta)`: Chen et al. 2024
    (arXiv 2405.19534).

    Args:
        agreement: the share of raters who prefer the chosen response; with 1 for all, every pair would be right.
    """
    opinion = torch.logit(torch.as_tensor(agreement, dtype=chosen_reference.dtype, device=chosen_reference.device))
    return chosen_reference - rejected_reference + opinion / beta > 0


def needed_loss(chosen_reference: Pairs, rejected_reference: Pairs, beta: float) -> Pairs:
    """DPO's loss of a pair at which its ranking turns right; low where the reference is strongly wrong.

    `-log sigmoid(beta * c)` with c the reference's log-odds for the rejected response: Chen et al. 2024
    (arXiv 2405.19534). Log 2, where training begins, for a pair that the reference finds equally likely.
    """
    return logistic(beta * (rejected_reference - chosen_reference))


def displaced(chosen_logratio: Pairs, rejected_logratio: Pairs) -> Marks:
    """Where the margin grew though the chosen response fell: likelihood displacement.

    A large share (above one half) warns that training takes mass from what it should teach; where it goes, `elsewhere`
    and an unseen response tell. Razin et al. 2024 (arXiv 2410.08847).
    """
    return (chosen_logratio < 0) & (chosen_logratio > rejected_logratio)


def elsewhere(chosen_logprob: Pairs, rejected_logprob: Pairs) -> Pairs:
    """The log-prob of all responses but the two of the pair; rising: dispersion onto what no pair speaks of.

    Yan et al. 2024 (3D-Properties, arXiv 2406.07327). Of short or few answers; of long ones it is always near 0.
    """
    return log_rest(torch.logaddexp(chosen_logprob, rejected_logprob))


class Concentration(NamedTuple):
    """Of each token's k best alternatives.

    Attributes:
        mass: their probability. Falling: the policy scatters into its tail.
        entropy: of the policy among them, in nats. Falling: diversity is being lost.
        best: the log-prob of the best; summed over a response, that of the greedy choices along it. Rising while the
            chosen response falls: the squeezing effect of Ren and Sutherland 2024 (arXiv 2407.10490).
    """

    mass: Float[Tensor, "tokens"]
    entropy: Float[Tensor, "tokens"]
    best: Float[Tensor, "tokens"]


def concentration(best_logprobs: Float[Tensor, "tokens k"]) -> Concentration:
    """The two alarms of over-optimisation of Shi et al. 2024 (arXiv 2410.11677), and the argmax.

    Args:
        best_logprobs: of the k most likely tokens at each place, in any order. (Of whole responses, where all are
            written down, it is as good.)
    """
    among = best_logprobs.log_softmax(-1)
    return Concentration(best_logprobs.exp().sum(-1), -(among.exp() * among).sum(-1), best_logprobs.amax(-1))


def distinguishability(
    chosen: Float[Tensor, "pairs features"], rejected: Float[Tensor, "pairs features"]
) -> Float[Tensor, ""]:
    """How far apart the two sides' embeddings are: the distance of their means over their spread about them.

    Behaviours with a larger one are learned first: Im and Li 2024 (arXiv 2403.18742). The spread is the root mean
    square over both sides and all features.

    Raises:
        ValueError: fewer than two embeddings a side have no spread.
    """
    if min(len(chosen), len(rejected)) < 2:
        raise ValueError(f"{len(chosen)} and {len(rejected)} embeddings: at least two a side have a spread")
    centred = torch.cat([chosen - chosen.mean(0), rejected - rejected.mean(0)])
    return (chosen.mean(0) - rejected.mean(0)).norm() / centred.square().mean().sqrt()
