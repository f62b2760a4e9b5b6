"""What the demo found: the table, the paired differences, accuracy against tokens, and the audit of the value model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from espalier.audit import Interval, Paired, accuracy, audit_scorer, compare, overoptimisation, pass_curve
from espalier.report import (
    Curve,
    Difference,
    Report,
    Row,
    ShownTree,
    overoptimisation_part,
    reliability_part,
    row,
)
from espalier.search import Choose, Found, best, majority, prefixes, weighted
from espalier.trees import Ledger
from espalier.worlds.arithmetic import final_answer

KS = (1, 2, 4, 8)
CHOICES: dict[str, Choose] = {
    "majority": partial(majority, extract=final_answer),
    "best value": partial(best, score="value"),
    "value vote": partial(weighted, extract=final_answer, score="value"),
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What one policy's searches returned, all on the same problems and judged by the verifier.

    Attributes:
        name: of the policy.
        greedy: one answer a problem.
        sampled: the forest of samples, scored by the value model.
        scoring: what that scoring cost.
        beams: value-guided beams, the cheapest first.
    """

    name: str
    greedy: Found
    sampled: Found
    scoring: Ledger
    beams: list[Found] = field(default_factory=list)

    def strategies(self) -> dict[str, Found]:
        """Every strategy by name; those that vote over the samples cost what the samples (and their values) cost."""
        found = {"greedy": self.greedy}
        for name, points in self.votes().items():
            cost = self.sampled.ledger if name == "majority" else self.sampled.ledger + self.scoring
            found[f"{name} @{KS[-1]}"] = Found(self.sampled.forest, points[-1][0].answers, cost, [])
        return found | {"value beam": self.beams[-1]}

    def votes(self) -> dict[str, list[tuple[Found, float]]]:
        """For each way to choose among the first k samples: the answers, and the tokens a problem that they cost."""
        forest = self.sampled.forest
        return {
            name: [
                (Found(forest, point.answers, Ledger(), []), sum(point.generated) / len(forest))
                for point in prefixes(forest, choose, KS)
            ]
            for name, choose in CHOICES.items()
        }

    def tokens(self) -> list[float]:
        """What the first k samples cost, in tokens a problem."""
        return [tokens for _, tokens in self.votes()["majority"]]

    def curves(self) -> list[Curve]:
        """Accuracy against generated tokens a problem."""
        beams = [(found, found.ledger.generated / len(found.forest)) for found in self.beams]
        lines = {"greedy": [(self.greedy, self.greedy.ledger.generated / len(self.greedy.forest))]}
        return [
            curve(f"{self.name}: {name}", [tokens for _, tokens in points], [accuracy(found) for found, _ in points])
            for name, points in {**lines, **self.votes(), "value beam": beams}.items()
        ]


def verdict(before: Answers, after: Answers, seed: str, seconds: float) -> Report:
    """The report of the whole demo."""
    was, now = before.strategies(), after.strategies()
    rows: list[Row] = [
        row(f"{a.name}: {name}", f) for a, all_ in ((before, was), (after, now)) for name, f in all_.items()
    ]
    vote, values = f"majority @{KS[-1]}", f"value vote @{KS[-1]}"
    gains = {
        "majority vote - greedy": compare(was["greedy"], was[vote]),
        "value-weighted vote - majority vote": compare(was[vote], was[values]),
        "value-guided beam - majority vote": compare(was[vote], was["value beam"]),
        "RL policy - starting policy, greedy": compare(was["greedy"], now["greedy"]),
        "RL policy - starting policy, one sample": compare(before.sampled.forest, after.sampled.forest),
        "RL policy - starting policy, majority vote": compare(was[vote], now[vote]),
    }
    audit = audit_scorer(before.sampled.forest, "value", "correct")
    part = reliability_part(audit)
    passes = {a.name: pass_curve(a.sampled.forest, KS) for a in (before, after)}
    ceilings = [curve(f"{a.name}: pass@k", a.tokens(), list(passes[a.name].values())) for a in (before, after)]
    facts = {
        "seed": seed,
        "held-out problems": str(len(before.sampled.forest)),
        "wall time": f"{seconds:.0f} s",
        f"pass@{KS[-1]}": " before RL, ".join(f"{passes[a.name][KS[-1]].estimate:.1%}" for a in (before, after))
        + " after",
    }
    return Report(
        "Arithmetic demo",
        summary(gains, was, now, vote, values),
        facts,
        rows,
        [Difference(name, gain.difference) for name, gain in gains.items()],
        [*before.curves(), *(line for line in after.curves() if line.name.endswith("majority")), *ceilings],
        reliability=[part] if part else [],
        overoptimisation=[
            overoptimisation_part(f"value, {a.name} policy", overoptimisation(a.sampled.forest, "value", "correct"))
            for a in (before, after)
        ],
        trees=shown(before),
    )


def summary(gains: dict[str, Paired], was: dict[str, Found], now: dict[str, Found], vote: str, values: str) -> str:
    """What was done and what came of it, in a few sentences."""

    def share(found: Found) -> str:
        return f"{accuracy(found).estimate:.0%}"

    def by(name: str) -> str:
        gain: Interval = gains[name].difference
        return f"{100 * gain.estimate:+.1f} points [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"

    return (
        f"On held-out problems the starting policy is right {share(was['greedy'])} of the time. Majority vote over "
        f"{KS[-1]} samples reaches {share(was[vote])} ({by('majority vote - greedy')}), weighting the votes by a value "
        f"model learned from outcomes {share(was[values])} ({by('value-weighted vote - majority vote')}). After "
        f"reinforcement learning the policy alone is right {share(now['greedy'])} of the time "
        f"({by('RL policy - starting policy, greedy')}). Differences are paired, with 95 % intervals."
    )


def curve(name: str, x: list[float], intervals: list[Interval]) -> Curve:
    """A curve from the interval at each x."""
    points = [(interval.estimate, interval.low, interval.high) for interval in intervals]
    y, low, high = (list(side) for side in zip(*points, strict=True))
    return Curve(name, x, y, low, high)


def shown(answers: Answers) -> list[ShownTree]:
    """A few beams to browse, problems first on which the choice mattered: right and wrong endings in one tree."""
    beam = answers.beams[-1]
    mixed = [
        (tree, answer)
        for tree, answer in zip(beam.forest, beam.answers, strict=True)
        if len({leaf.value("correct") for leaf in tree.leaves()} - {None}) > 1
    ]
    rest = list(zip(beam.forest, beam.answers, strict=True))
    return [
        ShownTree(tree, "value", "correct", [answer] if answer is not None else [], tree.prompt.strip())
        for tree, answer in (mixed or rest)[:6]
    ]
