"""Online preference optimisation: sample, score, compare, update, and let the reference follow or not.

    espalier train online-dpo --model MODEL --data prompts.jsonl --scorer arithmetic --out runs/online

One loop for a family: online DPO and online IPO (Guo et al. 2024, arXiv 2402.04792), iterative DPO (`reference =
"refresh"`: Xiong et al. 2023, arXiv 2312.11456), TR-DPO's moving average, and, with a share of stored pairs, hybrids of
on- and off-policy data. What is left out: importance weights for stored pairs, which the pairwise losses do not need,
and gradients through the sampling.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from math import floor
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from espalier.curation.prune import best_and_worst
from espalier.losses import k3
from espalier.models import Packed
from espalier.training.diagnostics import WATCHED, mean_over_tokens
from espalier.training.order import order
from espalier.training.prepare import stored_logprobs
from espalier.training.recipe import Frozen, Online, Rolling
from espalier.training.recipes.dpo import DPO
from espalier.training.rollout import sampled_logprobs
from espalier.trees import Forest, Tree
from espalier.trees.views import pairs


class OnlineDPO(Online, DPO):
    """DPO, or any other pairwise loss, on pairs of the policy's own responses."""

    key: ClassVar[str] = "online-dpo"
    compare: Literal["ends", "all"] = Field("ends", description="the best response with the worst, or every two")
    refills: int = Field(
        0, ge=0, description="how many times prompts without a pair are replaced by others within a step"
    )
    offline: float = Field(0.0, ge=0, lt=1, description="share of a step's prompts whose pairs are the data's own")
    stored: str | None = Field(
        None, description="stream with the reference's log-probs of the data's pairs; by default as for the others"
    )

    @property
    def stored_reference(self) -> str | None:
        return self.stored if self.needs_reference else None

    def select(self, forest: Forest) -> Forest:
        """Every prompt; with a share of stored pairs, those of the prompts that have them."""
        if not self.offline:
            return forest.prompts()
        paired = DPO.select(self, forest)
        known = {tree.prompt for tree in paired}
        return Forest([*paired, *(tree for tree in forest.prompts() if tree.prompt not in known)])

    def draw(self, forest: Forest, seed: int, number: int, size: int) -> list[Tree]:
        """Bare prompts, then the trees whose stored pairs are learned from.

        A share of a small step is kept over the steps: one stored pair in every second step, say.
        """
        due = [floor(step * size * self.offline + 0.5) for step in (number, number + 1)]
        asked = size - (due[1] - due[0])
        prompts = order(len(forest), seed, number * size - due[0], asked)
        stored = [tree for tree in forest if tree.root.children]
        kept = order(len(stored), seed + 1, due[0], due[1] - due[0])
        return [forest[i].copy(keep=lambda node: False) for i in prompts] + [stored[i] for i in kept]

    def collect(self, trees: list[Tree], rolling: Rolling) -> tuple[list[Tree], dict[str, float]]:
        stored = [tree for tree in trees if tree.root.children]
        asked = [tree for tree in trees if not tree.root.children]
        wanted, sampled = len(asked), 0
        metrics: dict[str, float] = {}
        found: list[Tree] = []
        for refill in range(1 + self.refills):
            if refill:
                asked = [tree.copy(keep=lambda node: False) for tree in rolling.fresh(wanted - len(found))]
            if not asked:
                break
            rolled, like = rolling.roll(asked)
            for leaf in rolled.leaves():
                leaf.scores[self.by] = leaf.scores["reward"]
            metrics = metrics or like
            sampled += len(rolled)
            found += self._compared(rolled)
        both = [sum(len(pairs(tree, self.by, self.least_margin)) for tree in part) for part in (stored, found)]
        if not sum(both):
            warnings.warn(
                f"a step found no pair: on none of {sampled} prompts did two of {self.n} responses differ by more than "
                f"{self.least_margin:g} in score, and nothing was updated. Raise recipe.n, "
                "recipe.sampling_temperature or recipe.refills, or take other prompts",
                stacklevel=2,
            )
        metrics |= {"pairs": float(sum(both)), "off_policy": both[0] / max(1, sum(both))}
        metrics |= {"informative": len(found) / sampled} if sampled else {}
        return [*found, *stored], metrics | {"skipped": float(not sum(both))}

    def observe(
        self, trees: Sequence[Tree], frozen: Frozen, packs: Callable[[Sequence[Tree]], Iterable[Packed]]
    ) -> dict[str, float]:
        """As for stored pairs; and the KL to the reference on all samples of one prompt in eight, good and bad."""
        seen = super().observe(trees, frozen, packs)
        if not self.needs_reference:
            return seen

        def estimate(packed: Packed) -> Tensor:
            reference = frozen.reference(packed)
            return k3(sampled_logprobs(packed).to(reference.device), reference)

        kl = mean_over_tokens(trees[::WATCHED], packs, estimate)
        return seen if kl is None else seen | {"kl": kl}

    def reference_logprobs(self, packed: Packed, frozen: Frozen) -> Float[Tensor, "targets"]:
        live = frozen.reference(packed)
        if self.stored is None:
            return live
        kept = stored_logprobs(packed, self.stored, absent=torch.nan)
        return torch.where(kept.isnan(), live, kept)

    def _compared(self, rolled: Forest) -> list[Tree]:
        """The prompts with a pair, each with the responses that are compared."""
        if self.compare == "ends":
            return list(best_and_worst(rolled, self.by, self.least_margin))
        return list(rolled.filter(lambda tree: bool(pairs(tree, self.by, self.least_margin))))
