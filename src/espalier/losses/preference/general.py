"""General preferences: no reward is assumed, only P(y beats y'), which may be cyclic.

The targets are games: a policy that no other beats (Nash), one whose answers leave nothing to improve (SRPO), one that
beats the reference most often (DRPO). Most of these losses are the pairwise ones with soft labels and a moving
reference: `*_logratio` is still measured from the reference, and `*_progress` is log policy minus log of the policy
that sampled. `preference` is the probability that the first (chosen) response beats the second; 1 where only a label is
known.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from espalier.losses.policy import reinforce
from espalier.losses.preference.core import Pairs, Responses, labelled, logistic, margin, score_function, squared


def online_ipo(chosen_logratio: Pairs, rejected_logratio: Pairs, preference: float | Pairs, tau: float) -> Pairs:
    """IPO on pairs that the policy sampled and a preference model labelled; its fixed point is the regularised Nash.

    Calandriello et al. 2024 (arXiv 2403.08635). IPO-MD draws both from `geometric_mixture` instead; the loss is the
    same.
    """
    return labelled(lambda m: squared(m, 1 / (2 * tau)), margin(chosen_logratio, rejected_logratio), preference)


def geometric_mixture(
    logprobs: Float[Tensor, "items vocabulary"], reference: Float[Tensor, "items vocabulary"], weight: float
) -> Float[Tensor, "items vocabulary"]:
    """Log-probs of the policy proportional to `policy^(1 - weight) * reference^weight`: Nash-MD's opponent.

    Munos et al. 2023 (arXiv 2312.00886); for language models taken token by token, as here. The weight lies
    between 0 and 1.
    """
    return ((1 - weight) * logprobs + weight * reference).log_softmax(-1)


def nash_md(logprob: Responses, logratio: Responses, preference: Responses, tau: float) -> Responses:
    """Nash-MD's policy gradient, on a response of the policy and the preference for it over one of the mixture's.

    Munos et al. 2023 (arXiv 2312.00886): `-log-prob * (preference - 1/2 - tau * logratio)`, the bracket held constant.
    Its value means nothing; its gradient is the policy gradient.
    """
    return reinforce(logprob, preference - 0.5 - tau * logratio)


def dno(
    chosen_progress: Pairs, rejected_progress: Pairs, chosen_winrate: Pairs, rejected_winrate: Pairs, eta: float
) -> Pairs:
    """Direct Nash optimisation: DPO with the label `sigmoid(win rate - win rate)`, measured from the last policy.

    Rosset et al. 2024 (arXiv 2404.03715), algorithm 1; win rates are against samples of the last policy. Its practical
    form (DNO-Prct) is `dpo` on pairs of a large gap.
    """
    label = torch.sigmoid(chosen_winrate - rejected_winrate)
    return labelled(logistic, margin(chosen_progress, rejected_progress, eta), label)


def sppo(progress: Responses, winrate: Responses, eta: float) -> Responses:
    """Self-play preference optimisation: regress log(policy / last policy) on `eta * (win rate - 1/2)`.

    Wu et al. 2024 (arXiv 2405.00675), equation 4.7. TRL's `sppo_hard` is the sum of a winner with win rate 1 and a
    loser with 0, at beta = 1 / eta.
    """
    return squared(progress, eta * (winrate - 0.5))


def gpo(progress: Responses, score: Responses, beta: float) -> Responses:
    """General preference optimisation: regress log(policy / last policy) on a preference model's score over `beta`.

    Zhang et al. 2024 (arXiv 2410.02197): `score` is the mean, over samples of the last policy, of a skew-symmetric
    preference score (a log-odds), so its mean over those samples is 0 and the normaliser is left out.
    """
    return squared(progress, score / beta)


def inpo(
    chosen_logratio: Pairs,
    rejected_logratio: Pairs,
    chosen_progress: Pairs,
    rejected_progress: Pairs,
    tau: float,
    eta: float,
) -> Pairs:
    """Iterative Nash policy optimisation: IPO measured from a geometric mixture of the reference and the last policy.

    Zhang et al. 2024 (arXiv 2407.00617): the margin of `tau/eta * logratio + (1 - tau/eta) * progress`, regressed on
    `1 / (2 eta)`. Pairs are sampled from the last policy; tau is the game's KL penalty, eta (at least tau) the step's.
    """
    kept = tau / eta
    chosen = kept * chosen_logratio + (1 - kept) * chosen_progress
    rejected = kept * rejected_logratio + (1 - kept) * rejected_progress
    return squared(margin(chosen, rejected), 1 / (2 * eta))


def srpo(
    chosen_logratio: Pairs,
    rejected_logratio: Pairs,
    revision: Float[Tensor, "pairs 2 2"],
    preference: float | Pairs,
    beta: float,
    alpha: float,
) -> Pairs:
    """SRPO: a policy that writes, and one that revises; at the optimum what is written has nothing left to revise.

    Choi et al. 2024 (arXiv 2406.01660): alpha times the reviser's squared errors, plus 1 - alpha times the writer's.

    Args:
        chosen_logratio: of the writer.
        rejected_logratio: of the writer.
        revision: the reviser's log-ratio of writing response j when shown response i; 0 is the chosen, 1 the rejected.
        preference: that the chosen beats the rejected; 1 where only the label is known.
        beta: the strength of both KL penalties.
        alpha: the reviser's share.
    """
    keep_c, to_r, to_c, keep_r = revision.flatten(1).unbind(1)
    improve = squared(beta * (to_c - keep_r), preference - 0.5) + squared(beta * (to_r - keep_c), 0.5 - preference)
    write = squared(beta * (chosen_logratio - rejected_logratio + to_c - to_r), 2 * preference - 1)
    return alpha * improve + (1 - alpha) * write


def drpo(
    logratio: Float[Tensor, "pairs 2"],
    won: Float[Tensor, "pairs 2"],
    estimate: Float[Tensor, "pairs 2"],
    direct: Float[Tensor, "pairs 2"],
    clip: float = torch.inf,
) -> Pairs:
    """Doubly robust: minus an estimate of P(policy beats reference), right if the preference model or the reference is.

    Xu et al. 2025 (arXiv 2506.01183): for each response a of a pair, the model's preference for the policy over a, plus
    the clipped importance ratio times the model's error on a. Add a KL penalty beside it.

    Args:
        logratio: of both responses of each pair, which the reference sampled.
        won: 1 for the preferred response, 0 for the other.
        estimate: the preference model's P(this response beats the other).
        direct: its P(a sample of the policy beats this response), with a gradient: exact, or the mean of
            `score_function(model, logprob)` over samples of the policy.
        clip: the ratio counts at least 1 / clip and at most clip, and is a constant weight of the policy gradient.
    """
    ratio = score_function(logratio.exp().clamp(1 / clip, clip), logratio)
    return -(direct + ratio * (won - estimate)).mean(-1)
