"""What an offline run does once, before its first step: token ids, lengths, and the reference policy's log-probs.

The responses are all there, so the reference is run over them once, in packed passes, and its log-probs stay with the
trees (as a stream, see `espalier.trees.streams`) and in the run folder. No copy of the policy is kept; what a step
reads is what a resumed run reads, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from espalier.errors import ContextLengthError, TrainingError
from espalier.models import Model, Packed, encode
from espalier.models.adapters import lora_layers
from espalier.scorers import ReferenceLogProbs, stream_name
from espalier.scorers.reference import lacking
from espalier.training.checkpoint import checkpoints
from espalier.training.config import Training
from espalier.training.recipe import Recipe
from espalier.trees import Forest, ForestWriter, Node, Tree, open_forest, read_stream

Tell = Callable[[int, int], None]


def prepare(forest: Forest, model: Model) -> Forest:
    """The trees in memory, with token ids, none with a path longer than the model's context.

    Raises:
        ContextLengthError: names the first tree that is too long, and how many are.
        ModelError: token ids of another tokenizer.
    """
    forest = forest.load()
    encode(forest, model.tokenizer, model.fingerprint)
    long = [(tree, length) for tree in forest if (length := _longest_path(tree)) > model.context_length]
    if long:
        tree, length = long[0]
        raise ContextLengthError(
            f"tree {tree.id!r} (prompt {tree.prompt[:60]!r}): a path has {length} tokens, the model's context "
            f"{model.context_length}; so it is with {len(long)} of {len(forest)} trees: drop or shorten them, or use a "
            "model with a longer context"
        )
    return forest


def reference_stream(
    recipe: Recipe, model: Model, forest: Forest, training: Training, folder: Path, tell: Tell = lambda *_: None
) -> str:
    """The name of the stream with the reference's log-probs, which is on every target of the forest afterwards.

    Where the recipe names none, it is the starting policy's: with an adapter, the model with its adapter off. What the
    forest or the run folder does not have yet is computed, and all of it kept as `trees/reference.parquet`.

    Args:
        forest: prepared.
        tell: called with the trees done and their number, while log-probs are computed.

    Raises:
        TrainingError: the stream that the recipe names is not on every target, an unfinished reference pass cannot go
            on because this model is not the one that the run began with, or a run to resume has lost its file.
    """
    if recipe.stored_reference is not None:
        check_streams(forest, recipe, recipe.stored_reference)
        return recipe.stored_reference
    path = folder / "trees" / "reference.parquet"
    if not path.exists() and checkpoints(folder / "checkpoints"):
        raise TrainingError(f"{path}: is gone, and with it what the run measures from; start a new run")
    kept = _take_over(path, forest) if path.exists() else None
    adapter = not lora_layers(model.hf)
    judge = ReferenceLogProbs(
        model,
        kept,
        targets=recipe.targets,
        temperature=recipe.temperature,
        adapter=adapter,
        tokens=training.micro_tokens,
        precision=training.precision,
        greedy=recipe.greedy,
    )
    lacking = sum(bool(judge.lacking(tree)) for tree in forest)
    if kept and not lacking:
        return kept
    if kept and kept != (
        mine := stream_name(model, judge.precision, recipe.temperature, adapter=adapter, greedy=recipe.greedy)
    ):
        raise TrainingError(
            f"{path}: lacks the reference's log-probs for {lacking} trees, and this model ({mine}) is not the one that "
            f"the run began with ({kept}): pass that model and the same data, or start a new run"
        )
    try:
        judge.score(forest, tell)
    finally:  # what was computed before Ctrl-C is not computed again
        _keep(forest, judge.name, path)
    return judge.name


def stored_logprobs(packed: Packed, name: str, absent: float | None = None) -> Float[Tensor, "targets"]:
    """The stream `name` at the targets of a pack.

    Args:
        absent: what stands for the tokens of a segment without the stream.

    Raises:
        TrainingError: a target segment has no such stream for its tokens, and there is no `absent`.
    """
    parts = [np.zeros(0, np.float32)]
    for segment, count in zip(*torch.unique_consecutive(packed.target_segment, return_counts=True), strict=True):
        node, tree = packed.nodes[int(segment)], packed.trees[int(segment)]
        values = read_stream(node, name)
        if values is None and absent is None:
            raise _absent(tree, node, name)
        if values is None:
            values = np.full(int(count), absent, np.float32)
        parts.append(values[len(values) - int(count) :])  # nothing predicts the first token of a text
    return torch.from_numpy(np.concatenate(parts)).to(packed.token_ids.device)


def check_streams(forest: Forest, recipe: Recipe, name: str) -> None:
    """Whether every target of the forest has the stream `name` for its tokens.

    Raises:
        TrainingError: the first that has not.
    """
    for tree in forest:
        for node in lacking(tree, name, recipe.targets):
            raise _absent(tree, node, name)


def _absent(tree: Tree, node: Node, name: str) -> TrainingError:
    why = "was computed for other tokens than it has now" if name in node.streams else "is not there"
    return TrainingError(
        f"tree {tree.id!r}, response {node.text[:40]!r}: its stream {name!r} {why} "
        f"(streams: {', '.join(sorted(node.streams)) or 'none'}); write it with "
        f"ReferenceLogProbs(model, {name!r}).score(forest)"
    )


def _take_over(path: Path, forest: Forest) -> str | None:
    """Put the stream of an earlier start of this run on the forest; its name, or None where it came to nothing."""
    found: str | None = None
    for tree, stored in zip(forest, open_forest(path), strict=False):
        for node, old in zip(tree.walk(), stored.walk(), strict=False):
            node.streams |= old.streams  # `read_stream` sees whether they fit the node's tokens
            found = next(iter(old.streams), found)
    return found


def _keep(forest: Forest, name: str, path: Path) -> None:
    """Write the forest with this stream alone, aside and then renamed."""
    with ForestWriter(path) as writer:
        for tree in forest:
            copy = tree.copy()
            for node in copy.walk():
                node.streams = {name: node.streams[name]} if name in node.streams else {}
            writer.write(copy)


def _longest_path(tree: Tree) -> int:
    ends: dict[Node | None, int] = {None: 0}
    for node in tree.walk():
        ends[node] = ends[node.parent] + len(node.token_ids or ())
    return max(ends.values())
