"""Programs chosen by tests that may be wrong: the posterior that a group and its tests are right beats counting."""

import numpy as np

from espalier.scorers.consensus import b4, codet, max_pass, mbr_exec
from papers import Above, Less, Paper

PAPER = Paper(
    id="P095",
    title="B4: Towards Optimal Assessment of Plausible Code Solutions with Plausible Tests",
    claim="with tests that may be wrong, choosing the group of programs with the highest posterior (four Beta "
    "functions) is right more often than CodeT, MaxPass and MBR-exec, the more so the harder the setting",
    measured="share of right programs in the chosen group, over 400 matrices of 10 programs and 30 tests a seed, as in "
    "the paper's simulation: 20 % of programs and 30 % of tests right, wrong programs pass 40 % of right tests and 10 "
    "% of wrong ones; hard: 15 % and 20 % right, 60 % and 10 % passed; priors as in the paper's code (10, 10)",
    rule=[
        *(Less(f"standard, {name}", "standard, B4") for name in ("CodeT", "MaxPass", "MBR-exec", "random")),
        *(Less(f"hard, {name}", "hard, B4") for name in ("CodeT", "MaxPass", "MBR-exec", "random")),
        Above("hard, gain of B4 over the best heuristic", 0.1),
        Above("hard, gain of B4 over random", 0.5),
    ],
    seeds=10,
)

SETTINGS = {"standard": (0.2, 0.3, 0.4, 0.1), "hard": (0.15, 0.2, 0.6, 0.1)}
SELECTORS = {"B4": b4, "CodeT": codet, "MaxPass": max_pass, "MBR-exec": mbr_exec, "random": lambda e: np.zeros(len(e))}


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng, figures = np.random.default_rng(seed), {}
    for setting, (programs, tests, on_right, on_wrong) in SETTINGS.items():
        found: dict[str, list[float]] = {name: [] for name in SELECTORS}
        while len(found["B4"]) < (20 if smoke else 400):
            x, y = rng.random(10) < programs, rng.random(30) < tests
            chance = np.where(x[:, None], y, np.where(y, on_right, on_wrong))
            passes = rng.random((10, 30)) < chance
            if 0 < x.sum() < 10:
                for name, selector in SELECTORS.items():
                    scores = selector(passes)
                    found[name].append(float(x[scores == scores.max()].mean()))
        right = {name: float(np.mean(values)) for name, values in found.items()}
        figures |= {f"{setting}, {name}": value for name, value in right.items()}
        best = max(right[name] for name in ("CodeT", "MaxPass", "MBR-exec"))
        figures[f"{setting}, gain of B4 over the best heuristic"] = right["B4"] / best - 1
        figures[f"{setting}, gain of B4 over random"] = right["B4"] / right["random"] - 1
    return figures
