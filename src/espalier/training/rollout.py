"""Rollouts: the policy writes, a scorer judges, and what cannot be trusted is refused before it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from espalier.engines.base import Engine
from espalier.errors import TrainingError
from espalier.models import Packed
from espalier.scorers import Scorer, check_missing
from espalier.training.batch import leaf_nodes
from espalier.training.recipe import Online
from espalier.trees import Forest, Node, Tree

Prompts = Callable[[Sequence[Tree], int], Sequence[Tree]]
"""From the prompts of a step, and its number, to those that are answered: harder ones, easier ones, paraphrases.

It must depend on its two arguments alone, or a resumed run is another run.
"""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes and who judges, and who makes the prompts anew, if anyone does."""

    engine: Engine
    scorer: Scorer
    prompts: Prompts | None = None


def rollout(prompts: Sequence[Tree], actor: Actor, recipe: Online, seed: int) -> tuple[Forest, dict[str, float]]:
    """For each prompt, `recipe.n` scored responses, each with its score called "reward"; and what they were like.

    Raises:
        TrainingError: more rewards are missing than `recipe.missing_limit` allows.
    """
    forest = Forest([tree.copy(keep=lambda node: False) for tree in prompts])
    grown = actor.engine.extend([tree.root for tree in forest], recipe.n, recipe.sampling(seed))
    for tree, nodes in zip(forest, grown, strict=True):
        for node in nodes:
            tree.root.add(node)
    actor.scorer.score(forest)
    leaves = list(forest.leaves())
    check_missing(forest, actor.scorer.name, recipe.missing_limit)
    for leaf in leaves:
        leaf.scores["reward"] = leaf.scores[actor.scorer.name]
    groups = [[v for leaf in tree.leaves() if (v := leaf.value("reward")) is not None] for tree in forest]
    known = [value for group in groups for value in group]
    if not known:
        raise TrainingError("no response of the rollout has a reward; the scorer judged none of them")
    written = [node for node in forest.nodes() if node.author == "policy"]  # between tool calls, too
    cut = [node.meta["cut_mass"] for node in written if "cut_mass" in node.meta]
    metrics = {
        "reward": sum(known) / len(known),
        "reward_std": float(torch.tensor([torch.tensor(g).std(correction=0).item() for g in groups if g]).mean()),
        "missing": 1 - len(known) / len(leaves),
        "length": sum(len(node.token_ids or ()) for node in written) / len(leaves),
        "cut_mass": sum(cut) / len(cut) if cut else 0.0,
    }
    return forest, metrics


def sampled_logprobs(packed: Packed) -> Float[Tensor, "targets"]:
    """The log-probs that the sampler wrote down, at the targets.

    Raises:
        TrainingError: a response carries none.
    """
    of_segment = packed.target_segment
    values: list[float] = []
    for segment, count in zip(*torch.unique_consecutive(of_segment, return_counts=True), strict=True):
        node: Node = packed.nodes[int(segment)]
        if node.logprobs is None or len(node.logprobs) != int(count):
            raise TrainingError(
                f"response {node.text[:40]!r}: {len(node.logprobs or ())} sampled log-probs for {int(count)} tokens; "
                "policy gradients need an engine that returns them"
            )
        values.extend(node.logprobs)
    return torch.tensor(values)


def group_index(packed: Packed) -> Int[Tensor, "leaves"]:
    """For each response, the number of its prompt."""
    numbers: dict[int, int] = {}
    return torch.tensor(
        [numbers.setdefault(id(leaf.root()), len(numbers)) for leaf in leaf_nodes(packed)], dtype=torch.long
    )
