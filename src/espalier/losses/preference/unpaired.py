"""Each response against an anchor, not against another response: thumbs up and down, scores, and pairs taken apart.

`logratio` is log policy minus log reference of a response, in nats, and `desirable` whether it was liked. What a batch
must know of its whole step (KTO's and BCO's reference point, the share of liked responses) is an argument, computed
once a step: so the gradient does not depend on the cut into micro-batches. One value a response comes back, or one a
pair where the argument's names say so.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from espalier.losses.preference.core import Pairs, Responses, logistic, margin, squared

Liked = Bool[Tensor, "responses"]


def reference_point(mismatched_logratio: Responses) -> Float[Tensor, ""]:
    """KTO's z0: the mean log-ratio of responses to *other* prompts, at least 0; estimates KL(policy || reference).

    Ethayarajh et al. 2024 (arXiv 2402.01306). A constant, of the whole optimiser step.
    """
    return mismatched_logratio.detach().mean().clamp(min=0)


def kto(
    logratio: Responses,
    desirable: Liked,
    reference_point: float | Float[Tensor, ""],
    beta: float,
    weight_desirable: float = 1.0,
    weight_undesirable: float = 1.0,
) -> Responses:
    """Kahneman-Tversky optimisation: `1 - sigmoid(beta * (logratio - z0))`, mirrored for what was not liked.

    Ethayarajh et al. 2024 (arXiv 2402.01306), without the constant. The weights should bring desirable and
    undesirable responses into a ratio of 1:1 to 4:3.
    """
    gain = margin(logratio, torch.as_tensor(reference_point).detach(), beta)
    worth = logratio.new_tensor([weight_undesirable, weight_desirable])[desirable.long()]
    return worth * torch.sigmoid(torch.where(desirable, -gain, gain))


def apo_zero(logratio: Responses, desirable: Liked, beta: float) -> Responses:
    """Anchored preference optimisation for answers better than the model's: KTO with the reference point at 0.

    D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 7, a response; the sum of both responses is the pair's loss.
    """
    return kto(logratio, desirable, 0.0, beta)


def apo_down(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float) -> Pairs:
    """Anchored preference optimisation for answers worse than the model's: both go down, the rejected one further.

    D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 8.
    """
    return torch.sigmoid(beta * chosen_logratio) + torch.sigmoid(-margin(chosen_logratio, rejected_logratio, beta))


def bco(logratio: Responses, desirable: Liked, beta: float, shift: float | Float[Tensor, ""] = 0.0) -> Responses:
    """Binary classifier optimisation: the logistic loss of telling liked from disliked by the implicit reward.

    Jung et al. 2024 (arXiv 2404.04656). `shift` is the mean reward of liked and disliked responses (each side's mean,
    then the mean of the two), a constant of the run so far; TRL's `bco_pair` has 0 and sums both responses of a pair.
    """
    reward = beta * logratio - shift
    return logistic(torch.where(desirable, reward, -reward))


def nca(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float) -> Pairs:
    """Noise-contrastive alignment of a pair: the chosen reward up, and both rewards towards an absolute 0.

    Chen et al. 2024 (arXiv 2402.05369), for two responses with the label certain.
    """
    chosen, rejected = beta * chosen_logratio, beta * rejected_logratio
    return logistic(chosen) + (logistic(-chosen) + logistic(-rejected)) / 2


def dro(logratio: Responses, reward: Responses, value: Responses, tau: float) -> Responses:
    """DRO-V: half the square of `reward - value - tau * logratio`, minimised over the policy and the prompt's value.

    Richemond et al. 2024 (arXiv 2405.19107). At the optimum the policy is the reference tilted by `reward / tau`, and
    the value is `tau * log` of the tilt's normaliser. Divide the policy's part of the gradient by tau for the scaling
    they use.
    """
    return squared(reward - value, tau * logratio) / 2


def pmpo(
    logprob: Responses, desirable: Liked, forward_kl: Responses, alpha: float, beta: float, share: float
) -> Responses:
    """PMPO: likelihood of what was accepted up, of what was rejected down, and KL(reference || policy) bounded.

    Abdolmaleki et al. 2024 (arXiv 2410.04166), equation 10, negated. Accepted or rejected responses alone will do; with
    rejected ones alone, beta must be well above 0 (they find: above 1 - alpha) or the loss has no minimum.

    Args:
        logprob: of each response under the policy.
        desirable: accepted, or else rejected.
        forward_kl: of each prompt, KL(reference || policy): exact, or log reference minus log policy of its samples.
        alpha: the weight of accepted responses; 1 - alpha is that of rejected ones.
        beta: the weight of the divergence.
        share: of accepted responses among all that are averaged over; the two means keep their weights at any ratio.
    """
    up = alpha / share if share > 0 else 0.0
    down = (1 - alpha) / (1 - share) if share < 1 else 0.0
    return torch.where(desirable, -up * logprob, down * logprob) + beta * forward_kl
