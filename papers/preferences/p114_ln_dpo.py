"""LN-DPO: divided by the length, DPO's margins call for better words and not for more of them."""

from itertools import product

import torch
from torch import Tensor

from espalier.exact import bradley_terry, expectation, kl, win_rate
from espalier.losses.preference import dpo, ln_dpo
from papers import Above, Less, Paper
from papers.preferences._lengths import QUALITY, TOKENS, problem

PAPER = Paper(
    id="P114",
    title="The Hitchhiker's Guide to Human Alignment with *PO",
    claim="DPO's responses are long, of lower quality and close to the supervised model; dividing by the length "
    "(LN-DPO) makes them shorter at no loss of quality, and does better at most hyperparameters, not only at the best",
    measured="a small language model over all strings up to 8 words, 60 pairs labelled by quality plus 0.3 a word; DPO "
    "and LN-DPO with four betas (LN-DPO's four times as large: the mean length) and two learning rates: win rate "
    "against the reference by quality alone at the best of the eight and on average, share of them at which LN-DPO "
    "wins more, mean length, KL at the best",
    rule=[
        Less("mean length, LN-DPO", "mean length, DPO"),
        Less("KL, DPO", "KL, LN-DPO"),
        Less("win rate, DPO", "win rate, LN-DPO"),
        Less("mean win rate, DPO", "mean win rate, LN-DPO"),
        Above("settings at which LN-DPO wins more", 0.5),
    ],
    seeds=24,
)
BETAS, RATES = (0.03, 0.1, 0.3, 1.0), (0.1, 0.3)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    given, figures, grids = problem(seed, bias=0.3), {}, {}
    for name in ("DPO", "LN-DPO"):
        runs = []
        for beta, lr in product(BETAS, RATES):

            def loss(c: Tensor, r: Tensor, *tokens: Tensor, name: str = name, beta: float = beta) -> Tensor:
                return dpo(c, r, beta) if name == "DPO" else ln_dpo(c, r, *tokens, 4 * beta)

            law = given.train(loss, steps=2 if smoke else 40, lr=lr)
            wins = win_rate(law, given.reference, bradley_terry(QUALITY[None]))
            runs.append([float(wins), float(expectation(law, TOKENS[None])), float(kl(law, given.reference))])
        grid = torch.tensor(runs)
        grids[name], best = grid, grid[grid[:, 0].argmax()]
        figures |= {
            f"win rate, {name}": float(best[0]),
            f"length, {name}": float(best[1]),
            f"KL, {name}": float(best[2]),
            f"mean win rate, {name}": float(grid[:, 0].mean()),
            f"worst win rate, {name}": float(grid[:, 0].min()),
            f"mean length, {name}": float(grid[:, 1].mean()),
            f"spread of win rates, {name}": float(grid[:, 0].std()),
        }
    better = (grids["LN-DPO"][:, 0] > grids["DPO"][:, 0]).double().mean()
    return figures | {"settings at which LN-DPO wins more": float(better)}
