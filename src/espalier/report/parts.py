"""What a report says, as plain records; the page and the terminal tables are two ways to draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espalier.trees import Node, Tree

if TYPE_CHECKING:  # names of types only: drawing a page must not load torch or sklearn
    from espalier.audit.intervals import Interval
    from espalier.training.metrics import Metric


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy or policy in the table.

    Attributes:
        name: of the strategy or policy.
        accuracy: share of problems answered correctly.
        generated: tokens sampled, a problem.
        scored: tokens that scorers read, a problem.
        seconds: wall-clock time over all problems.
    """

    name: str
    accuracy: Interval
    generated: float
    scored: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of one row minus that of another on the same problems, as in "vote@8 - greedy"."""

    name: str
    interval: Interval

    @property
    def excludes_zero(self) -> bool:
        return self.interval.excludes(0.0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line with an interval at each of its points.

    Attributes:
        name: what the line is.
        x: ascending.
        y: estimates.
        low: lower ends of the intervals.
        high: upper ends.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    def __post_init__(self) -> None:
        lengths = {part: len(getattr(self, part)) for part in ("x", "y", "low", "high")}
        if len(set(lengths.values())) != 1 or not self.x:
            raise ValueError(f"curve {self.name!r}: x, y, low and high must be of one length above 0, found {lengths}")


@dataclass(frozen=True, slots=True)
class Bin:
    """One bin of a reliability curve.

    Attributes:
        predicted: mean forecast of its items.
        observed: share of them that came true.
        count: how many items.
    """

    predicted: float
    observed: Interval
    count: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far a scorer's numbers can be believed.

    Attributes:
        name: of the scorer.
        bins: ascending; a reward model without probabilities has none.
        ece: expected calibration error, where there are bins.
        auc: probability that a right answer is scored above a wrong one.
        length_auc: the same for answer length alone (the shorter the better), the shortcut to be ahead of.
    """

    name: str
    auc: Interval
    length_auc: Interval | None = None
    ece: float | None = None
    bins: Sequence[Bin] = ()


@dataclass(frozen=True, slots=True)
class Overoptimisation:
    """Proxy and true reward of best-of-n by a scorer; x is n. Proxy up and truth down: the scorer is gamed."""

    name: str
    proxy: Curve
    true: Curve


@dataclass(frozen=True, slots=True)
class ShownTree:
    """A tree to browse.

    Attributes:
        tree: the problem.
        score: the score that colours the nodes.
        correct: the score that says whether an ending is right (above 0.5) or wrong.
        chosen: the endings that a strategy answered with.
        title: how the tree is called in the list of trees.
    """

    tree: Tree
    score: str = "value"
    correct: str = "correct"
    chosen: Sequence[Node] = ()
    title: str = ""


@dataclass(slots=True)
class Report:
    """Everything that one page shows; a part without data is left out.

    Attributes:
        title: the run's name.
        summary: what was done and what came of it, in one sentence with the key number and its interval.
        facts: versions, seed, wall time and the like, as text.
        rows: the table.
        differences: paired differences between rows.
        curves: accuracy against generated tokens a problem, a curve for each strategy.
        training: for each phase of training its rows of `metrics.jsonl`; a row may lack a metric.
        metrics: what each metric means.
        reliability: one entry a scorer.
        overoptimisation: one entry a scorer.
        trees: problems to browse.
        settings: the run's configuration as TOML.
    """

    title: str
    summary: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    differences: Sequence[Difference] = ()
    curves: Sequence[Curve] = ()
    training: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    reliability: Sequence[Reliability] = ()
    overoptimisation: Sequence[Overoptimisation] = ()
    trees: Sequence[ShownTree] = ()
    settings: str = ""
