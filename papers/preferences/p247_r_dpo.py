"""R-DPO: what length explains of the preferences, the policy need not."""

import torch
from torch import Tensor

from espalier.exact import bradley_terry, expectation, win_rate
from espalier.losses.preference import dpo, r_dpo
from papers import Less, Paper
from papers.preferences._lengths import QUALITY, TOKENS, problem

PAPER = Paper(
    id="P247",
    title="Disentangling Length from Quality in Direct Preference Optimization",
    claim="where raters like length a little, DPO's responses become longer than those that were preferred, since its "
    "implicit reward follows length more closely on its own responses than on the labelled ones; R-DPO prevents that, "
    "and wins more often when length is not judged",
    measured="a small language model over all strings up to 8 words, 60 pairs labelled by quality plus 0.3 a word; "
    "DPO and R-DPO (alpha 0.3), beta 0.1, 60 steps: mean length, and win rate against the reference by quality alone; "
    "squared correlation of DPO's implicit reward with length, over the labelled responses and over its own",
    rule=[
        Less("length, chosen", "length, DPO"),
        Less("length, R-DPO", "length, chosen"),
        Less("win rate by quality, DPO", "win rate by quality, R-DPO"),
        Less("reward told by length, labelled responses", "reward told by length, own responses"),
    ],
    seeds=40,
)
BIAS, BETA = 0.3, 0.1


def told(reward: Tensor, law: Tensor) -> float:
    """The squared correlation of reward and length under a law."""
    weight = law.exp()
    x, y = (value - (weight * value).sum() for value in (TOKENS, reward))
    return float((weight * x * y).sum() ** 2 / ((weight * x * x).sum() * (weight * y * y).sum()))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    given, steps = problem(seed, BIAS), 10 if smoke else 60
    laws = {
        "DPO": given.train(lambda c, r, *tokens: dpo(c, r, BETA), steps),
        "R-DPO": given.train(lambda c, r, *tokens: r_dpo(c, r, *tokens, BETA, BIAS), steps),
    }
    shown = torch.cat([given.chosen, given.rejected])
    labelled = torch.bincount(shown, minlength=len(TOKENS)).double().log() - torch.tensor(float(len(shown))).log()
    reward = BETA * (laws["DPO"] - given.reference)[0]
    figures = {
        "length, reference": float(expectation(given.reference, TOKENS[None])),
        "length, chosen": float(TOKENS[given.chosen].mean()),
        "length, rejected": float(TOKENS[given.rejected].mean()),
        "reward told by length, labelled responses": told(reward, labelled),
        "reward told by length, own responses": told(reward, laws["DPO"][0]),
    }
    for name, law in laws.items():
        figures[f"length, {name}"] = float(expectation(law, TOKENS[None]))
        wins = win_rate(law, given.reference, bradley_terry(QUALITY[None]))
        figures[f"win rate by quality, {name}"] = float(wins)
        liked = win_rate(law, given.reference, bradley_terry((QUALITY + BIAS * TOKENS)[None]))
        figures[f"win rate as labelled, {name}"] = float(liked)
    return figures
