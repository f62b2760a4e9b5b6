"""Which strategy at which budget: accuracy against compute, paired where it matters, and the cost of a right answer.

Cost-of-pass (Erol et al. 2025, arXiv 2504.13359): what one right answer costs on average, the mean cost of an answer
divided by the accuracy. It is infinite where nothing was right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.audit.accuracy import accuracy, outcomes
from espalier.audit.intervals import LEVEL, Interval, bootstrap
from espalier.audit.paired import Paired, paired
from espalier.errors import AuditError
from espalier.trees import Forest, Ledger, Prices

if TYPE_CHECKING:
    from espalier.engines.base import Engine
    from espalier.scorers.base import Scorer
    from espalier.search.base import Found, Strategy
    from espalier.search.budget import Budget


@dataclass(frozen=True, slots=True)
class Point:
    """One strategy within one budget.

    Attributes:
        strategy: its name.
        budget: generated tokens that a problem could cost at most.
        accuracy: share of problems answered right.
        cost: what the whole search spent.
        generated, prefilled, scored: tokens a problem, on average.
        money: of a problem, at the prices given; None without prices.
        cost_of_pass: what a right answer costs: money, or generated tokens where there are no prices.
        cut: the share of problems whose search the budget ended early.
    """

    strategy: str
    budget: int
    accuracy: Interval
    cost: Ledger
    generated: float
    prefilled: float
    scored: float
    money: float | None
    cost_of_pass: Interval
    cut: float


@dataclass(frozen=True, slots=True)
class Pick:
    """What to take at a budget.

    Attributes:
        budget: generated tokens a problem.
        strategy: the most accurate, of equals the cheaper.
        against: the comparison with each other strategy on the same problems; its difference is theirs minus the
            pick's.
        ties: the strategies that the problems cannot tell from the pick: their difference's interval holds 0.
    """

    budget: int
    strategy: str
    against: dict[str, Paired]

    @property
    def ties(self) -> list[str]:
        return [name for name, found in self.against.items() if not found.difference.excludes(0.0)]

    def __str__(self) -> str:
        even = f"; not told apart from it: {', '.join(self.ties)}" if self.ties else "; better than all others"
        return f"at {self.budget:,} tokens a problem: {self.strategy}{even if self.against else ''}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Strategies at several budgets, all on the same problems.

    Attributes:
        points: every strategy at every budget.
        picks: one for each budget.
        found: what each search returned, by strategy and budget.
    """

    points: list[Point]
    picks: list[Pick]
    found: dict[tuple[str, int], Found] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; the forests are left out. A cost-of-pass that is infinite is None."""
        picks = [{**asdict(pick), "ties": pick.ties} for pick in self.picks]
        points = [asdict(point) for point in self.points]
        for point in points:
            if not np.isfinite(point["cost_of_pass"]["estimate"]):
                point["cost_of_pass"] = None
        return {"points": points, "picks": picks}


def compare_strategies(
    strategies: Mapping[str, Callable[[int], Strategy]],
    budgets: Sequence[int],
    problems: Forest,
    engine: Callable[[], Engine],
    scorer: Scorer | None,
    verifier: Scorer,
    *,
    by: str | None = None,
    prices: Prices | None = None,
    level: float = LEVEL,
    seed: int = 0,
    progress: Callable[[str, int], None] = lambda strategy, budget: None,
) -> Comparison:
    """Search the same problems with every strategy within every budget, and judge the answers.

    A search that was cut before an answer was finished has given a wrong one.

    Args:
        strategies: by name, how to make each for a number of generated tokens a problem (a sampler can then ask for
            more samples where there is more to spend). The budget is enforced whatever they ask for.
        budgets: generated tokens a problem.
        problems: bare prompts; each search gets its own copy.
        engine: makes an engine for each search, so that none finds in the cache what another computed.
        scorer: guides the strategies.
        verifier: says which answers are right.
        by: the name of the verifier's score; its own by default.
        prices: what tokens cost.
        progress: called before each search.

    Raises:
        AuditError: no strategy or no budget, or answers that cannot be judged.
    """
    from espalier.search.budget import Budget, Limits

    if not strategies or not budgets:
        raise AuditError("a comparison needs at least one strategy and one budget")
    by, points, found = by or verifier.name, list[Point](), dict[tuple[str, int], "Found"]()
    for budget in sorted(budgets):
        for name, make in strategies.items():
            progress(name, budget)
            limit: Budget = Budget(tree=Limits(generated=budget))
            result = make(budget).search(problems.prompts(), engine(), scorer, limit)
            verifier.score(result.forest)
            result = _ended(result, by)
            found[name, budget] = result
            points.append(_point(name, budget, result, by, prices, level, seed))
    if not any(by in leaf.scores for result in found.values() for leaf in result.forest.leaves()):
        raise AuditError(f"no answer has the score {by!r}; the verifier's is called {verifier.name!r}")
    picks = [_pick(budget, points, found, by, level, seed) for budget in sorted(budgets)]
    return Comparison(points, picks, found)


def cost_of_pass(
    costs: Sequence[float], right: Sequence[float | None], *, level: float = LEVEL, seed: int = 0
) -> Interval:
    """The mean cost of an answer over the share that is right, with the bootstrap interval over problems.

    Problems that could not be judged are left out, cost included.

    >>> cost_of_pass([10.0, 10.0, 10.0, 10.0], [1, 0, 1, 0]).estimate
    20.0

    Raises:
        AuditError: fewer than two problems could be judged.
    """
    known = [(cost, value) for cost, value in zip(costs, right, strict=True) if value is not None]
    spent, passed = np.array(known, dtype=float).reshape(-1, 2).T
    if not passed.any():
        return Interval(np.inf, np.inf, np.inf, len(known), len(costs) - len(known), level, "nothing was right")

    def statistic(weights: np.ndarray) -> np.ndarray:
        share = weights @ passed
        return np.divide(weights @ spent, share, out=np.full(len(share), np.nan), where=share > 0)

    missing = len(costs) - len(known)
    return bootstrap(statistic, np.arange(len(known)), level=level, seed=seed, missing=missing)


def _ended(found: Found, by: str) -> Found:
    """What only paused when the tokens were spent, and so was no response to the verifier, is no answer."""
    ended = [answer if answer is not None and by in answer.scores else None for answer in found.answers]
    return replace(found, answers=ended)


def _point(name: str, budget: int, found: Found, by: str, prices: Prices | None, level: float, seed: int) -> Point:
    each, right = len(found.forest), list(outcomes(found, by).values())
    costs = [float(ledger.generated) if prices is None else ledger.money(prices) for ledger in found.ledgers]
    return Point(
        name,
        budget,
        accuracy(found, by, level=level, seed=seed),
        found.ledger,
        found.ledger.generated / each,
        found.ledger.prefilled / each,
        found.ledger.scored / each,
        None if prices is None else found.ledger.money(prices) / each,
        cost_of_pass(costs, right, level=level, seed=seed),
        sum(found.cut) / each,
    )


def _pick(
    budget: int, points: Sequence[Point], found: Mapping[tuple[str, int], Found], by: str, level: float, seed: int
) -> Pick:
    here = [point for point in points if point.budget == budget]
    top = max(here, key=lambda point: (point.accuracy.estimate, -point.generated - point.scored))
    mine = outcomes(found[top.strategy, budget], by)
    against = {
        point.strategy: paired(mine, outcomes(found[point.strategy, budget], by), level=level, seed=seed)
        for point in here
        if point is not top
    }
    return Pick(budget, top.strategy, against)
