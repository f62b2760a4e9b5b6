"""Programs and tests that judge each other are ranked better than by how many tests a program passes."""

import numpy as np
from scipy.stats import spearmanr

from espalier.scorers.consensus import max_pass
from espalier.search import mutual_ranking
from papers import Less, Paper

PAPER = Paper(
    id="P113",
    title="CodeDPO: Aligning Code Models with Self Generated and Verified Source Code",
    claim="where programs and tests are both generated and both may be wrong, trust that is passed to and fro over the "
    "matrix of passes ranks programs by their true quality better than counts of passed tests do, so that pairs for "
    "preference learning are right more often",
    measured="200 matrices of 15 programs and 15 tests a seed. Half of the programs are right; the others pass each "
    "right test with a chance of their own, uniform up to 80 %; rank correlation of scores with this chance, and share "
    "of pairs of a right and a wrong program in the right order. 20 % of tests wrong, or 50 %, passed by wrong "
    "programs only, 10 % of the time; or 40 %, where programs and tests have one of three mistakes and those with the "
    "same mistake agree 90 % of the time. Beside the rule the same with 30 % of programs right and one mistake that "
    "all wrong ones share",
    rule=[
        *(
            Less(f"{figure}, pass counts, {setting}", f"{figure}, mutual, {setting}")
            for setting in ("20 % wrong", "50 % wrong", "shared mistakes")
            for figure in ("rank correlation", "pairs in order")
        )
    ],
    seeds=10,
    tried="The order of tests is not part of it: here the number of programs that pass a test already orders tests "
    "nearly perfectly. With a majority of wrong programs that share one mistake both rankings order pairs worse than "
    "chance, and trust, which goes with the majority, does worse than counts: 0.44 of pairs against 0.48.",
)
SETTINGS = {  # share of right programs, of wrong tests, how often those with one mistake agree, mistakes
    "20 % wrong": (0.5, 0.2, 0.1, 3),
    "50 % wrong": (0.5, 0.5, 0.1, 3),
    "shared mistakes": (0.5, 0.4, 0.9, 3),
    "wrong majority": (0.3, 0.4, 0.9, 1),
}
SIZE = 15


def drawn(
    rng: np.random.Generator, right_programs: float, wrong_tests: float, agree: float, mistakes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The quality of programs, and which program passes which test."""
    quality = np.where(rng.random(SIZE) < right_programs, 1.0, rng.uniform(0, 0.8, SIZE))
    right = rng.random(SIZE) >= wrong_tests
    mistake, misled = rng.integers(mistakes, size=(2, SIZE))
    by_wrong = np.where((mistake[:, None] == misled) & (quality < 1)[:, None], agree, 0.1)
    on_wrong = np.where((quality == 1)[:, None], 0.0, by_wrong)
    return quality, rng.random((SIZE, SIZE)) < np.where(right, quality[:, None], on_wrong)


def in_order(scores: np.ndarray, good: np.ndarray) -> float:
    """How often something good is scored higher than something that is not; ties count half."""
    above = np.round(scores[good][:, None] - scores[~good], 9)  # equal rows may differ by rounding
    return float((above > 0).mean() + (above == 0).mean() / 2)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    rng, found = np.random.default_rng(seed), dict[str, list[float]]()
    for setting, chances in SETTINGS.items():
        for _ in range(20 if smoke else 200):
            quality, passes = drawn(rng, *chances)
            if 0 < (quality == 1).sum() < SIZE:
                for name, scores in (("pass counts", max_pass(passes)), ("mutual", mutual_ranking(passes)[0])):
                    correlation = float(spearmanr(np.round(scores, 9), quality).statistic)
                    found.setdefault(f"rank correlation, {name}, {setting}", []).append(correlation)
                    found.setdefault(f"pairs in order, {name}, {setting}", []).append(in_order(scores, quality == 1))
    return {name: float(np.mean(values)) for name, values in found.items()}
