"""What k samples are worth: pass@k (is any right?) and maj@k (is the majority right?), expected over the choice of k.

Both are exact expectations over every way to pick k of a problem's n samples, so no subsampling adds noise; the
interval is over problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import comb

import numpy as np

from espalier.audit.accuracy import ends
from espalier.audit.intervals import LEVEL, Interval, mean
from espalier.errors import AuditError
from espalier.trees import Forest, Tree


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate that at least one of k samples is right, from c right ones of n.

    `1 - C(n - c, k) / C(n, k)`: Chen et al. 2021 (arXiv 2107.03374), equation 1, as the product that does not overflow.

    Raises:
        AuditError: not 0 <= c <= n, or not 1 <= k <= n.

    >>> pass_at_k(n=4, c=1, k=2)
    0.5
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise AuditError(f"pass@k needs 0 <= c <= n and 1 <= k <= n, found n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1)))


def maj_at_k(answers: Sequence[str | None], correct: Sequence[float], k: int, finished: Sequence[bool]) -> float:
    """The exact expected accuracy of the majority vote among k of n samples, drawn without replacement.

    The vote is that of `espalier.search.majority`: the most frequent answer wins, ties going to the answer seen first,
    which over random draws is each of them equally often; a sample without an answer has no vote, nor one that was cut
    unless all are; where nobody votes the result is wrong.

    Args:
        answers: of each sample; None where it gives none.
        correct: of each sample, 0 or 1.
        k: how many vote.
        finished: of each sample, false where it was cut by the token limit.

    Raises:
        AuditError: not 1 <= k <= n <= 1000.

    >>> maj_at_k(["4", "4", "5"], [1, 1, 0], k=3, finished=[True] * 3)
    1.0
    """
    n = len(answers)
    if not 1 <= k <= n <= 1000:
        raise AuditError(f"maj@k needs 1 <= k <= n <= 1000 samples, found n={n}, k={k}")
    whole, cut = [i for i in range(n) if finished[i]], [i for i in range(n) if not finished[i]]
    accuracy = _vote(answers, correct, k, voters=whole, silent=len(cut))
    if len(cut) >= k:
        accuracy += comb(len(cut), k) / comb(n, k) * _vote(answers, correct, k, voters=cut, silent=0)
    return accuracy


def pass_curve(forest: Forest, ks: Sequence[int], by: str = "correct", *, level: float = LEVEL) -> dict[int, Interval]:
    """pass@k of a sampled forest, for each k. A problem with fewer than k judged samples is missing there.

    Raises:
        AuditError: a score is neither 0 nor 1, or no problem has enough samples.
    """

    def one(tree: Tree, k: int) -> float | None:
        correct = [value for leaf in ends(tree) if (value := _binary(leaf.value(by), by)) is not None]
        return pass_at_k(len(correct), round(sum(correct)), k) if len(correct) >= k else None

    return {k: _over_problems([one(tree, k) for tree in forest], f"pass@{k}", by, level) for k in ks}


def maj_curve(
    forest: Forest,
    ks: Sequence[int],
    extract: Callable[[str], str | None],
    by: str = "correct",
    *,
    level: float = LEVEL,
) -> dict[int, Interval]:
    """maj@k of a sampled forest, for each k. `extract` takes the final answer from a response, None where it has none.

    Raises:
        AuditError: a score is neither 0 nor 1, or no problem has enough samples.
    """

    def samples(tree: Tree) -> tuple[list[str | None], list[float], list[bool]]:
        judged = [(leaf, value) for leaf in ends(tree) if (value := _binary(leaf.value(by), by)) is not None]
        return (
            [extract(leaf.response()) for leaf, _ in judged],
            [value for _, value in judged],
            [leaf.stop != "length" for leaf, _ in judged],
        )

    problems = [samples(tree) for tree in forest]
    curve = {}
    for k in ks:
        values = [maj_at_k(a, c, k, f) if len(a) >= k else None for a, c, f in problems]
        curve[k] = _over_problems(values, f"maj@{k}", by, level)
    return curve


def _binary(value: float | None, by: str) -> float | None:
    if value not in (None, 0, 1):
        raise AuditError(f"the score {by!r} must be 0 or 1, found {value}")
    return value


def _over_problems(values: list[float | None], what: str, by: str, level: float) -> Interval:
    if all(value is None for value in values):
        raise AuditError(f"{what}: none of {len(values)} problems has that many samples with the score {by!r}")
    return mean(values, level=level)


def _vote(answers: Sequence[str | None], correct: Sequence[float], k: int, voters: Sequence[int], silent: int) -> float:
    """The expected accuracy of the vote when `silent` more samples can be drawn that have no vote."""
    classes: dict[str, list[float]] = {}
    for i in voters:
        answer = answers[i]
        if answer is None:
            silent += 1
        else:
            classes.setdefault(answer, []).append(correct[i])
    counts = [len(members) for members in classes.values()]
    # Only classes with a right member add anything, and equal answers are almost always equally right.
    return sum(
        float(np.mean(members)) * _win(len(members), tuple(sorted(counts[:i] + counts[i + 1 :])), silent, k)
        for i, members in enumerate(classes.values())
        if any(members)
    )


@lru_cache(maxsize=4096)
def _win(own: int, others: tuple[int, ...], silent: int, k: int) -> float:
    """P(this answer wins) when k of all samples are drawn: `own` give it, `others` are the counts of the other answers.

    For each number t of votes that the answer may get, count the draws in which no other answer gets more than t, by
    how many get exactly t (row) and how many samples are used up (column).
    """
    favourable = 0.0
    for t in range(1, min(own, k) + 1):
        rest = k - t
        ways = np.zeros((rest // t + 1, rest + 1))
        ways[0, 0] = 1.0
        for count in others:
            grown = _times(ways, [comb(count, x) for x in range(min(count, t - 1, rest) + 1)])
            if t <= min(count, rest):
                grown[1:, t:] += comb(count, t) * ways[:-1, :-t]
            ways = grown
        ways = _times(ways, [comb(silent, x) for x in range(min(silent, rest) + 1)])
        shares = ways[:, rest] / np.arange(1, len(ways) + 1)
        favourable += comb(own, t) * float(shares.sum())
    return favourable / comb(own + sum(others) + silent, k)


def _times(ways: np.ndarray, factors: list[int]) -> np.ndarray:
    """The product of each row's polynomial with the polynomial of these factors, cut at the row's length."""
    product = np.zeros_like(ways)
    for shift, factor in enumerate(factors):
        product[:, shift:] += float(factor) * ways[:, : ways.shape[1] - shift]
    return product
