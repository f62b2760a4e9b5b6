"""Decoding with values of an aligned policy is nearer to the optimum than with the decoded policy's own."""

import torch
from torch import Tensor

from espalier.exact import Tabular, expectation, kl, soft_values, tilted
from papers import Less, Near, Paper
from papers.search._languages import built_up, language, so_far

ALPHAS = (0.1, 0.3, 1.0)
PAPER = Paper(
    id="P099",
    title="Transfer Q Star: Principled Decoding for LLM Alignment",
    claim="decoding by policy * exp(Q / alpha) loses less reward when Q is the value of a policy aligned already than "
    "when it is the value of the policy that is decoded, or the reward of the text so far; a policy aligned to another "
    "reward still helps, once its completions are re-weighted; alpha trades reward for closeness",
    measured="exact laws over strings of 6 symbols: reward lost against the best string, at alpha 0.3; the KL from the "
    "reference at three alphas",
    rule=[
        Less("gap, transfer", "gap, own values"),
        Less("gap, own values", "gap, reward so far"),
        Less("gap, indirect", "gap, own values"),
        Less("KL, alpha=0.3", "KL, alpha=0.1"),
        Less("KL, alpha=1.0", "KL, alpha=0.3"),
        Less("gap, alpha=0.1", "gap, alpha=0.3"),
        Near("re-weighting error", 0.0, within=1e-9),
    ],
    seeds=20,
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    of = language(4 if smoke else 6)
    policy, reward, beta = Tabular.random(of, seed, 0.5), built_up(of, seed + 100), 0.3
    reference, best = policy().detach(), reward.max(1).values
    aligned = Tabular.of(of, tilted(reference, reward, beta))
    other = 0.5 * reward + 0.8 * built_up(of, seed + 200)  # what the baseline of the indirect transfer was aligned to
    stranger = tilted(reference, other, beta)
    reweighted = (stranger + (reward - other) / beta).log_softmax(-1)

    values = {
        "transfer": q_of(aligned, reward),
        "own values": q_of(policy, reward),
        "reward so far": so_far(of, seed + 100)[:, 1:].unflatten(1, (of.prefixes, len(of.symbols))),
        "indirect": q_of(Tabular.of(of, reweighted), reward),
    }
    figures = {"re-weighting error": float((reweighted - tilted(reference, reward, beta)).abs().max())}
    for name, q in values.items():
        figures[f"gap, {name}"] = float((best - expectation(decoded(policy, q, 0.3), reward)).mean())
    for alpha in ALPHAS:
        law = decoded(policy, values["transfer"], alpha)
        figures[f"gap, alpha={alpha}"] = float((best - expectation(law, reward)).mean())
        figures[f"KL, alpha={alpha}"] = float(kl(law, reference).mean())
    return figures


def q_of(policy: Tabular, reward: Tensor) -> Tensor:
    """The expected reward after each token when this policy completes the text."""
    return soft_values(policy.language, policy.next_logprobs().detach(), reward, torch.inf).q


def decoded(policy: Tabular, q: Tensor, alpha: float) -> Tensor:
    """The law over strings of policy(token) * exp(Q(token) / alpha)."""
    following = (policy.next_logprobs().detach() + q / alpha).log_softmax(-1)
    return policy.language.string_logprobs(following)
