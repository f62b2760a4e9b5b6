"""Have those pairs labelled of whose order the policy is certain: right where many pairs are near duplicates."""

from papers import Less, Lines, Paper
from papers.data._active import LABELS, ROUNDS, curves

SHOWN = ("random", "small", "certain", "union")
PAPER = Paper(
    id="P188",
    title="Active Preference Learning for Large Language Models",
    claim="labels of large implicit margins, the prompts sieved by predictive entropy or not, make DPO learn faster "
    "and end better than labels of random pairs. This holds where many pairs are near duplicates and raters "
    "noisy; where all are about equally unlike, P165's small margins are right and large ones worse than chance",
    measured="win rate against the reference on new prompts of log-linear DPO policies, 10 labels a round of pairs of "
    "their own, 6 rounds: mean of the rounds after the first, and the last; two worlds, shared with P165",
    rule=[
        Less("unlike: random", "unlike: certain"),
        Less("unlike: random, last", "unlike: certain, last"),
        Less("unlike: random", "unlike: entropy, then certain"),
        Less("unlike: random, last", "unlike: entropy, then certain, last"),
        Less("unlike: small", "unlike: random"),
        Less("alike: certain", "alike: random"),
    ],
    seeds=8,
    figure=Lines(
        "labels",
        "win rate (unlike pairs)",
        {pick: [(LABELS * n, f"unlike: {pick}, round {n}") for n in range(1, ROUNDS + 1)] for pick in SHOWN},
    ),
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, curve in curves(seed, smoke, [*SHOWN, "entropy, then certain"]).items():
        figures |= {name: float(curve[1:].mean()), f"{name}, last": float(curve[-1])}
        figures |= {f"{name}, round {n}": float(rate) for n, rate in enumerate(curve, 1)}
    return figures
