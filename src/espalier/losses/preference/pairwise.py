"""Pairs measured from a reference: DPO, and what changes one thing in it.

Common arguments: `chosen_logratio` and `rejected_logratio` are log policy minus log reference of the whole responses,
in nats; `*_logprob` is log policy alone; `*_tokens` are lengths; `beta` is reward per nat. One value a pair comes back.
"""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from espalier.losses.preference.core import (
    Divergence,
    Link,
    Mask,
    Pairs,
    Tokens,
    exponential,
    hinge,
    labelled,
    logistic,
    margin,
    squared,
    total,
    unbiased,
)

# ------------------------------------------------------------------------------------------- the link and the label


def dpo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, smoothing: float = 0.0) -> Pairs:
    """Direct preference optimisation: `-log sigmoid(beta * (chosen - rejected))`, in nats.

    Rafailov et al. 2023 (arXiv 2305.18290), equation 7. `smoothing` above 0 makes it `cdpo`.
    """
    m = margin(chosen_logratio, rejected_logratio, beta)
    return labelled(logistic, m, 1 - smoothing) if smoothing else logistic(m)


def generalised(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, link: Link) -> Pairs:
    """Any convex link of DPO's margin: generalised preference optimisation, Tang et al. 2024 (arXiv 2402.05749)."""
    return link(margin(chosen_logratio, rejected_logratio, beta))


def cdpo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, noise: float) -> Pairs:
    """Conservative DPO, for labels of which a share `noise` is flipped; its optimum has a finite margin.

    Mitchell's 2023 note "on noisy preferences".
    """
    return dpo(chosen_logratio, rejected_logratio, beta, smoothing=noise)


def robust_dpo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, noise: float) -> Pairs:
    """Robust DPO: under a share `noise` of flipped labels, an unbiased estimate of DPO's loss under clean ones.

    Chowdhury et al. 2024 (arXiv 2403.00409). Not bounded below: one pair alone can be pushed without end.
    """
    return labelled(logistic, margin(chosen_logratio, rejected_logratio, beta), unbiased(noise))


def ipo(chosen_logratio: Pairs, rejected_logratio: Pairs, tau: float) -> Pairs:
    """Identity preference optimisation: regress the log-ratio margin on `1 / (2 tau)`, so that it stays finite.

    Azar et al. 2023 (arXiv 2310.12036), equation 17. Summed over tokens as written there; pass log-ratios a token for
    the form that its authors and TRL use.
    """
    return squared(margin(chosen_logratio, rejected_logratio), 1 / (2 * tau))


def hinge_dpo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float) -> Pairs:
    """The hinge in place of the logistic link: the `hinge-norm` of Liu et al. 2023 (RSO, arXiv 2309.06657)."""
    return hinge(margin(chosen_logratio, rejected_logratio, beta))


def exo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, noise: float) -> Pairs:
    """EXO on pairs: KL(softmax of the two rewards || the label (1 - noise, noise)), the reverse of cDPO's direction.

    Ji et al. 2024 (arXiv 2402.00856), equation 16.

    Raises:
        ValueError: `noise` is not inside (0, 1): a certain label is infinitely far.
    """
    if not 0 < noise < 1:
        raise ValueError(f"noise = {noise}: EXO needs a share of flipped labels inside (0, 1), such as 0.001")
    m = margin(chosen_logratio, rejected_logratio, beta)
    right, wrong = F.logsigmoid(m), F.logsigmoid(-m)
    return right.exp() * (right - log(1 - noise)) + wrong.exp() * (wrong - log(noise))


def discopop(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, tau: float = 0.05) -> Pairs:
    """DiscoPOP: logistic where the order is wrong, going over to exponential where it is right, within `tau`.

    Lu et al. 2024 (arXiv 2406.08414), equation 5; found by a language model's search over losses. Not convex.
    """
    m = margin(chosen_logratio, rejected_logratio, beta)
    right = torch.sigmoid(m / tau)
    return (1 - right) * logistic(m) + right * exponential(m)


# ---------------------------------------------------------------------------------------------------- the score


def f_dpo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, divergence: Divergence) -> Pairs:
    """DPO for another divergence than the reverse KL: `core.forward_kl`, `jensen_shannon`, `alpha_divergence(alpha)`.

    Wang et al. 2023 (arXiv 2309.16240).
    """
    return logistic(margin(divergence(chosen_logratio), divergence(rejected_logratio), beta))


def ln_dpo(
    chosen_logratio: Pairs, rejected_logratio: Pairs, chosen_tokens: Pairs, rejected_tokens: Pairs, beta: float
) -> Pairs:
    """Length-normalised DPO: the log-ratios a token, so beta is in units of reward per nat a token.

    Ahrabian et al. 2024 (arXiv 2407.15229); TRL's `sigmoid_norm`.
    """
    return dpo(chosen_logratio / chosen_tokens, rejected_logratio / rejected_tokens, beta)


def r_dpo(
    chosen_logratio: Pairs,
    rejected_logratio: Pairs,
    chosen_tokens: Pairs,
    rejected_tokens: Pairs,
    beta: float,
    alpha: float,
) -> Pairs:
    """Length-regularised DPO: the optimum of a reward that pays `alpha` less for each token.

    Park et al. 2024 (arXiv 2403.19159). The reward of a pair's labels is `beta * log-ratio + alpha * tokens`, so with
    alpha above 0 the length explains part of each preference, and the policy has to explain only the rest.
    """
    return logistic(margin(chosen_logratio, rejected_logratio, beta) + alpha * (chosen_tokens - rejected_tokens))


def dpo_shift(chosen_logratio: Pairs, rejected_logratio: Pairs, beta: float, shift: float) -> Pairs:
    """DPO-Shift: the rejected response counts only `shift`, in (0, 1], so that the chosen one rises with it.

    Yang et al. 2025 (arXiv 2502.07599); `shift` is their f(lambda).
    """
    return asymmetric_dpo(chosen_logratio, rejected_logratio, beta, shift * beta)


def asymmetric_dpo(chosen_logratio: Pairs, rejected_logratio: Pairs, beta_chosen: float, beta_rejected: float) -> Pairs:
    """A beta for each side, against the unlearning of both: Yan et al. 2024 (3D-Properties, arXiv 2406.07327)."""
    return logistic(beta_chosen * chosen_logratio - beta_rejected * rejected_logratio)


def step_dpo(
    chosen_token_logratio: Tokens, rejected_token_logratio: Tokens, chosen_mask: Mask, rejected_mask: Mask, beta: float
) -> Pairs:
    """DPO on one step after a shared prefix: the masks mark the tokens of the right and of the wrong step.

    Lai et al. 2024 (Step-DPO, arXiv 2406.18629). With masks on edited tokens: RISE (arXiv 2410.06638).
    """
    return dpo(total(chosen_token_logratio, chosen_mask), total(rejected_token_logratio, rejected_mask), beta)


# ---------------------------------------------------------------------------------------- the reward of each pair


def odpo(chosen_logratio: Pairs, rejected_logratio: Pairs, offset: Pairs, beta: float) -> Pairs:
    """DPO with an offset: a pair is won only by a margin of `offset`, in reward; larger where the raters were surer.

    Amini et al. 2024 (arXiv 2402.10571).
    """
    return logistic(margin(chosen_logratio, rejected_logratio, beta) - offset)


def reward_scaled_dpo(
    chosen_logratio: Pairs, rejected_logratio: Pairs, reward_margin: Pairs, beta: float, weight: float, rate: float
) -> Pairs:
    """MM-DPO's dynamic reward scaling: beta grows with the reward model's margin, up to `beta * (1 + weight)`.

    Zhang et al. 2025 (MM-RLHF, arXiv 2502.10391): `beta * (1 + weight * (1 - exp(-rate * reward_margin)))`.
    """
    return logistic(
        margin(chosen_logratio, rejected_logratio, beta * (1 - weight * torch.expm1(-rate * reward_margin)))
    )


def distilled_dpo(chosen_logratio: Pairs, rejected_logratio: Pairs, reward_margin: Pairs, beta: float) -> Pairs:
    """Regress the implicit reward's margin on a reward model's: no link, no labels.

    REBEL, Gao et al. 2024 (arXiv 2404.16767), with beta = 1 / eta; reward distillation, Fisch et al. 2024 (2405.19316).
    """
    return squared(margin(chosen_logratio, rejected_logratio, beta), reward_margin)


def bonbon(chosen_logratio: Pairs, rejected_logratio: Pairs, chosen_logprob: Pairs, n: int, alpha: float) -> Pairs:
    """BoNBoN: imitate best-of-n from the best (chosen) and the worst of n samples of the reference.

    Gui et al. 2024 (arXiv 2406.00832): alpha times the best's negative log-likelihood, plus (1 - alpha) times IPO with
    the tau at which the target is the mean log-ratio gap of the best-of-n policy, `(n - 1) * (1 + 1/2 + ... +
    1/(n-1))`.
    """
    gap = (n - 1) * sum(1 / k for k in range(1, n))
    return -alpha * chosen_logprob + (1 - alpha) * ipo(chosen_logratio, rejected_logratio, tau=1 / (2 * gap))


# --------------------------------------------------------------------------------------------- terms beside the link


def rpo(chosen_logratio: Pairs, rejected_logratio: Pairs, chosen_logprob: Pairs, beta: float, eta: float) -> Pairs:
    """DPO with `eta * beta` times the chosen response's negative log-likelihood, against over-optimisation.

    Liu et al. 2024 (arXiv 2405.16436); the chosen responses are the baseline policy's samples.
    """
    return dpo(chosen_logratio, rejected_logratio, beta) - eta * beta * chosen_logprob


def iterative_rpo(
    chosen_logratio: Pairs,
    rejected_logratio: Pairs,
    chosen_logprob: Pairs,
    chosen_tokens: Pairs,
    beta: float,
    alpha: float,
) -> Pairs:
    """DPO with `alpha` times the chosen response's negative log-likelihood a token; the reference is the last round's.

    Pang et al. 2024 (Iterative reasoning preference optimisation, arXiv 2404.19733), equation 1.
    """
    return dpo(chosen_logratio, rejected_logratio, beta) - alpha * chosen_logprob / chosen_tokens


def vpo(
    chosen_logratio: Pairs, rejected_logratio: Pairs, calibration_logratio: Pairs, beta: float, alpha: float
) -> Pairs:
    """Value-incentivised: DPO plus `alpha * beta` times the log-ratio of samples from a calibration policy.

    Cen et al. 2024 (arXiv 2405.19320). With the reward's origin fixed to 0 on the calibration policy, the term is alpha
    times the reward's optimal value, negated: alpha above 0 is optimism (online), below 0 pessimism (offline).
    """
    return dpo(chosen_logratio, rejected_logratio, beta) + alpha * beta * calibration_logratio


def rationale_dpo(
    chosen_logratio: Pairs, rejected_logratio: Pairs, rationale_logprob: Pairs, beta: float, gamma: float
) -> Pairs:
    """DPO plus `gamma` times the negative log-likelihood of a text that says why the chosen response is better.

    Just et al. 2024 (arXiv 2407.14477); the rationale is conditioned on the prompt and both responses.
    """
    return dpo(chosen_logratio, rejected_logratio, beta) - gamma * rationale_logprob


def degree(logits: Float[Tensor, "responses degrees"], removed: Int[Tensor, "responses"]) -> Float[Tensor, "responses"]:
    """SPO's self-supervised term: tell from the policy's states how much key content was removed from a response.

    Li et al. 2024 (arXiv 2409.17791): cross-entropy of a head's classes 0 (intact) up to the most removed; added, with
    a weight, to any loss of this file. In nats a response.
    """
    return F.cross_entropy(logits, removed, reduction="none")
