"""The dictionary of metrics: what is reported is what was trained, and each number says what it is.

`metrics.jsonl` holds one row a step with numbers from this dictionary only, and nothing that depends on the clock, so
that two runs of one seed write the same bytes. Wall-clock times go to `timings.jsonl`.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espalier.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric means for the user, then its formula.

    Attributes:
        meaning: what to read from it.
        formula: how it is computed; means are over the whole step, weighted as the loss is.
        unit: of the number.
        healthy: what a good run looks like.
        alarm: a mean over `WINDOW` rows above it is worth a warning, see `Watch`; None for most.
    """

    meaning: str
    formula: str
    unit: str
    healthy: str
    alarm: float | None = None


METRICS: dict[str, Metric] = {
    "loss": Metric("what the optimiser descends", "sum of scale * term", "as its terms", "falls, then flattens"),
    "lr": Metric("how far an update reaches", "schedule(step)", "per update", "as configured"),
    "grad_norm": Metric(
        "large: updates are cut short", "|gradient| before clipping", "loss / weight", "mostly below clip"
    ),
    "tokens": Metric("tokens computed for the updates", "packed tokens, shared prefixes once", "tokens", "steady"),
    "nll": Metric(
        "how surprising the demonstrations are", "-log p(token)", "nats/token", "falls; far below held-out: overfit"
    ),
    "bradley_terry": Metric(
        "how often and how surely pairs are misordered", "-log sigmoid(r+ - r-)", "nats/pair", "below 0.69"
    ),
    "value_bce": Metric(
        "how wrong the forecast of success is",
        "cross-entropy with the outcome",
        "nats/token",
        "below the base rate's entropy",
    ),
    "value_mse": Metric(
        "how wrong the forecast of success is", "(v - outcome)^2", "reward^2/token", "below the outcome's variance"
    ),
    "value_ce": Metric(
        "how wrong the forecast of success is, as a distribution over bins",
        "cross-entropy with the projected outcome",
        "nats/token",
        "falls; two_hot of 0 and 1: below the base rate's entropy",
    ),
    "process_bce": Metric(
        "how wrong the forecast of the step labels is", "cross-entropy with the label", "nats/step", "below 0.69, falls"
    ),
    "process_mse": Metric(
        "how wrong the forecast of the steps' advantages is", "(a - label)^2", "reward^2/step", "below their variance"
    ),
    "implicit_ce": Metric(
        "how wrong the outcome forecast by the log-ratio is",
        "cross-entropy of the label with sigmoid(beta log pi/ref)",
        "nats/response",
        "below 0.69",
    ),
    "outcome_accuracy": Metric(
        "share of responses whose log-ratio has the sign of its outcome",
        "[log pi/ref > 0] = [right]",
        "share",
        "rising",
    ),
    "oreo_policy": Metric(
        "how far the policy is from soft Bellman consistency",
        "(V - R + beta log pi/ref to the end)^2",
        "reward^2/token",
        "falls",
    ),
    "oreo_value": Metric(
        "the same residual, as the value model learns it",
        "(V - R + beta log pi/ref to the end)^2",
        "reward^2/token",
        "falls",
    ),
    "oreo_kl": Metric(
        "how far the policy is from the reference, on the logged responses",
        "KL of writing their token rather than any other",
        "nats/token",
        "grows slowly",
    ),
    "td_error": Metric(
        "how far the Q-function is from what it will say one token later",
        "(Q(s, a) - r - gamma Q(s', the pre-trained token))^2",
        "reward^2/token",
        "falls",
    ),
    "regret": Metric(
        "how far right tokens stand below the best one",
        "V(s) - Q(s, a) on right responses",
        "reward/token",
        "falls to 0",
    ),
    "right_nll": Metric("how unlikely right responses are", "-log pi on right responses", "nats/token", "falls"),
    "dpo": Metric(
        "how far pairs are from where the chosen preference loss wants them",
        "the loss of recipe.loss; for dpo -log sigmoid(beta * margin)",
        "nats/pair for dpo",
        "falls; dpo: below 0.69",
    ),
    "pair_accuracy": Metric(
        "share of pairs in the right order", "[chosen above rejected]", "share", "above 0.5, rising"
    ),
    "margin": Metric(
        "how far chosen stands above rejected", "log-ratio or reward difference", "nats or reward", "rises slowly"
    ),
    "chosen_logratio": Metric(
        "falling: the chosen answers are being unlearned", "log pi/ref of chosen", "nats/response", "near or above 0"
    ),
    "rejected_logratio": Metric(
        "how far the rejected answers are pushed down", "log pi/ref of rejected", "nats/response", "below chosen"
    ),
    "chosen_mean_logprob": Metric(
        "falling: the chosen answers are being unlearned", "log pi of chosen / its tokens", "nats/token", "not falling"
    ),
    "rejected_mean_logprob": Metric(
        "how far the rejected answers are pushed down", "log pi of rejected / its tokens", "nats/token", "below chosen"
    ),
    "ranking_accuracy": Metric(
        "share of pairs that the policy itself ranks right, which is more than a rise over the reference",
        "[log pi of chosen above log pi of rejected]",
        "share",
        "rising, below ranking_bound",
    ),
    "ranking_bound": Metric(
        "the ranking accuracy that the exact optimum of DPO would have",
        "[reference's log odds + logit(agreement) / beta above 0]",
        "share",
        "1 where labels are certain",
    ),
    "unseen_mean_logprob": Metric(
        "falling with the chosen: mass leaves for what no pair speaks of",
        "log pi of the next prompt's chosen response under this prompt / its tokens, for 1 in 8 prompts of the step",
        "nats/token",
        "steady",
    ),
    "argmax_mean_logprob": Metric(
        "rising while the chosen falls: mass gathers on the greedy choice (squeezing)",
        "log-prob of the likeliest token at each place of chosen / its tokens",
        "nats/token",
        "above chosen, steady",
    ),
    "displaced": Metric(
        "likelihood displacement: the margin grows though the chosen responses become less likely",
        "[chosen log-ratio below -0.1 nats and above that of rejected]",
        "share of pairs",
        "below 0.5",
        alarm=0.5,
    ),
    "kl_pairs": Metric(
        "how far policy and reference are apart on the responses of the pairs",
        "k2, (log pi/ref)^2 / 2, a token; pairs are no samples of the policy, so this is not its KL",
        "nats^2/token",
        "grows slowly",
    ),
    "chosen_length": Metric("length of the chosen responses", "tokens of chosen", "tokens", "near rejected's"),
    "rejected_length": Metric(
        "length of the rejected responses", "tokens of rejected", "tokens", "near that of chosen"
    ),
    "pairs": Metric("what a step learns from", "pairs of the step", "pairs", "steady"),
    "informative": Metric(
        "low: prompts are too easy or too hard",
        "sampled prompts with a pair / sampled prompts",
        "share",
        "high",
    ),
    "off_policy": Metric("stored pairs among those learned from", "stored pairs / pairs", "share", "as configured"),
    "skipped": Metric(
        "no pair was found in the step, and nothing was updated", "[step without a pair]", "share", "0", alarm=0.5
    ),
    "policy": Metric(
        "the surrogate objective", "-min(ratio A, clip(ratio) A)", "advantage/token", "near 0; its trend means little"
    ),
    "reward": Metric("how good the samples are", "mean known reward of the rollout", "reward", "rises"),
    "reward_std": Metric("near 0: nothing to learn within groups", "mean spread within a group", "reward", "above 0"),
    "missing": Metric("rewards that could not be had", "missing / sampled", "share", "0"),
    "length": Metric("response length", "sampled tokens / responses", "tokens", "no runaway growth"),
    "clip_fraction": Metric("large: updates are too big", "[ratio is clipped]", "share", "below 0.2"),
    "approx_kl": Metric(
        "how far the updates moved from the sampler", "k3 of old against new", "nats/token", "below 0.05"
    ),
    "kl": Metric(
        "distance from the reference policy",
        "k3 of policy against reference, on the policy's own samples",
        "nats/token",
        "grows slowly",
    ),
    "entropy": Metric("near 0: the policy has stopped exploring", "-sum p log p", "nats/token", "falls slowly"),
    "parity": Metric(
        "sampler and trainer disagree", "mean |replayed - sampled log-prob|", "nats/token", "below 1e-3 in fp32"
    ),
    "cut_mass": Metric(
        "probability that top-p/top-k removed", "mean mass outside the nucleus", "share", "0 for exact policy gradients"
    ),
    "value_loss": Metric(
        "how wrong the critic is", "max((v-R)^2, (clip(v)-R)^2)", "reward^2/token", "below the return's variance"
    ),
}


WINDOW = 10
"""Rows over whose mean an alarm is judged, so that one odd batch raises none."""


class Watch:
    """Sees every row of a run, and warns once of each metric that passes its alarm.

    Attributes:
        passed: the metrics that did, each with the step at which it first did and its mean there.

    Args:
        rows: what was recorded before; what passed there is not said again.
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self.passed: dict[str, tuple[int, float]] = {}
        self._last: dict[str, deque[float]] = {
            name: deque(maxlen=WINDOW) for name, metric in METRICS.items() if metric.alarm is not None
        }
        for row in rows:
            self._add(row)

    def see(self, row: Mapping[str, float]) -> None:
        for name in self._add(row):
            (step, mean), metric = self.passed[name], METRICS[name]
            warnings.warn(
                f"step {step}: {name} is {mean:.2f}, mean of {WINDOW} steps, above {metric.alarm}: {metric.meaning}",
                stacklevel=3,
            )

    def _add(self, row: Mapping[str, float]) -> list[str]:
        """The metrics that pass with this row."""
        new = []
        for name, values in self._last.items():
            if (value := row.get(name)) is None or name in self.passed:
                continue
            values.append(value)
            mean, limit = sum(values) / len(values), METRICS[name].alarm
            if limit is not None and len(values) == WINDOW and mean > limit:
                self.passed[name] = (int(row["step"]), mean)
                new.append(name)
        return new


class Recorder:
    """Writes `metrics.jsonl` and `timings.jsonl` of a run folder, and cuts them back to a checkpoint on resume."""

    def __init__(self, folder: Path, resume_after: int | None = None) -> None:
        self.files = {name: folder / f"{name}.jsonl" for name in ("metrics", "timings")}
        for path in self.files.values():
            _keep_until(path, resume_after)

    def write(self, step: int, metrics: Mapping[str, float], timings: Mapping[str, float]) -> None:
        """Append one row to each file.

        Raises:
            TrainingError: a metric has no entry in the dictionary, or the disk is full.
        """
        if unknown := sorted(set(metrics) - set(METRICS)):
            raise TrainingError(f"metrics without an entry in espalier.training.metrics.METRICS: {', '.join(unknown)}")
        for name, row in (("metrics", metrics), ("timings", timings)):
            line = json.dumps({"step": step, **row}) + "\n"
            try:
                with self.files[name].open("a") as file:
                    file.write(line)
            except OSError as error:
                raise TrainingError(
                    f"{self.files[name]}: cannot be written at step {step}: {error.strerror}"
                ) from error


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's `metrics.jsonl`."""
    path = Path(folder) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _keep_until(path: Path, step: int | None) -> None:
    """Drop the rows after `step` (all, for None), and a last line that a crash cut in half."""
    kept = []
    if step is not None and path.exists():
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] > step:
                    break
            except (ValueError, KeyError):
                break
            kept.append(line + "\n")
    aside = path.with_suffix(".tmp")
    aside.write_text("".join(kept))
    os.replace(aside, path)
