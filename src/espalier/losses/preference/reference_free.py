"""Pairs without a reference: the log-prob itself is the score, and something else keeps the policy in place.

Arguments as in `pairwise`; `*_mean_logprob` is the log-prob a token. Often the negative log-likelihood of the chosen
response is part of the loss; here it is that of the pair's own response, so that it is one value a pair.
"""

from __future__ import annotations

from espalier.losses.preference.core import Pairs, alpha_divergence, hinge, log_odds, logistic, margin


def cpo(chosen_logprob: Pairs, rejected_logprob: Pairs, beta: float, alpha: float = 1.0) -> Pairs:
    """Contrastive preference optimisation: DPO with a uniform reference, plus the chosen's negative log-likelihood.

    Xu et al. 2024 (arXiv 2401.08417); they have alpha 1 and the log-likelihood summed over the response.
    """
    return logistic(margin(chosen_logprob, rejected_logprob, beta)) - alpha * chosen_logprob


def simpo(chosen_mean_logprob: Pairs, rejected_mean_logprob: Pairs, beta: float, gamma: float) -> Pairs:
    """SimPO: the margin of log-probs a token, to be won by `gamma` (in reward).

    Meng et al. 2024 (arXiv 2405.14734), equation 6. TRL's `simpo_gamma` is this gamma.
    """
    return logistic(margin(chosen_mean_logprob, rejected_mean_logprob, beta) - gamma)


def alphapo(chosen_mean_logprob: Pairs, rejected_mean_logprob: Pairs, beta: float, gamma: float, alpha: float) -> Pairs:
    """AlphaPO: SimPO under an alpha-divergence from the uniform policy; alpha 0 is SimPO.

    Gupta et al. 2025 (arXiv 2501.03884): the score is `(1 - p^-alpha) / alpha`, with p the geometric mean a token.
    """
    score = alpha_divergence(alpha)
    return logistic(margin(score(chosen_mean_logprob), score(rejected_mean_logprob), beta) - gamma)


def orpo(chosen_mean_logprob: Pairs, rejected_mean_logprob: Pairs, weight: float) -> Pairs:
    """ORPO: the chosen's negative log-likelihood a token, plus `weight` times the logistic loss of the log odds ratio.

    Hong et al. 2024 (arXiv 2403.07691), equations 6 and 7; `weight` is their lambda, and TRL's beta.
    """
    odds = margin(log_odds(chosen_mean_logprob), log_odds(rejected_mean_logprob))
    return -chosen_mean_logprob + weight * logistic(odds)


def slic(
    chosen_logprob: Pairs, rejected_logprob: Pairs, target_logprob: Pairs, delta: float = 1.0, weight: float = 1.0
) -> Pairs:
    """SLiC-HF: a log-prob margin of at least `delta` nats, plus `weight` times a target's negative log-likelihood.

    Zhao et al. 2023 (arXiv 2305.10425); the target is the supervised answer, or the chosen response.
    """
    return hinge(margin(chosen_logprob, rejected_logprob), at=delta) - weight * target_logprob


def typo(chosen_logprob: Pairs, rejected_logprob: Pairs, sample_logprob: Pairs, weight: float) -> Pairs:
    """TYPO: the policy's own odds of a pair match the preference, and `weight` times KL(reference || policy) holds it.

    Hu et al. 2024 (arXiv 2407.09072), whose policy prefers y to y' with `policy(y) / (policy(y) + policy(y'))`. So a
    reference that already agrees with the preferences is left alone, and as the weight goes from 0 to infinity the
    optimum goes from their own policy to the reference. No pairs are needed for the second part: `sample_logprob` is
    log policy of a response that the reference sampled, and its negation that divergence but for a constant.
    """
    return logistic(margin(chosen_logprob, rejected_logprob)) - weight * sample_logprob
