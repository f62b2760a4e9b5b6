"""A model's log-probs of the responses in a forest, computed once and kept with the trees.

Like a scorer it annotates what has no annotation yet; but what it writes is a stream, one number a token. Training that
measures from a reference policy (DPO, say) reads the stream instead of running that policy beside its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from espalier.errors import ModelError
from espalier.models import Model, Packed, encode, pack
from espalier.models.budget import fill
from espalier.models.digest import model_digest
from espalier.models.numerics import Precision, Setting, matrix_products, resolve_precision, settle_process
from espalier.models.weights import Weights
from espalier.scorers.models import evaluating
from espalier.trees import Forest, Ledger, Node, Tree, put_stream, read_stream

_TOGETHER = 256  # trees among which packs are filled


def stream_name(
    model: Model, precision: Precision, temperature: float = 1.0, *, adapter: bool = True, greedy: bool = False
) -> str:
    """The name that a model's log-probs have by themselves: equal names mean equal numbers, up to rounding.

    It holds a digest of weights, config and tokenizer, the precision of matrix products, and the temperature, and says
    whether it is the log-probs or the likeliest tokens.

    >>> from espalier.models import from_config, train_tokenizer
    >>> config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1}
    >>> stream_name(from_config(config, train_tokenizer(["ab"], kind="char")), "fp32").split(":")[2:]
    ['fp32', 't=1']
    """
    what = "greedy" if greedy else "logprobs"
    return f"{what}:{model_digest(model, adapter=adapter)}:{precision}:t={temperature:g}"


def lacking(tree: Tree, name: str, targets: Callable[[Node], bool]) -> list[Node]:
    """The target nodes of an encoded tree that have no stream of this name for their tokens."""
    return [node for node in tree.walk() if node.token_ids and targets(node) and read_stream(node, name) is None]


class ReferenceLogProbs:
    """Writes a model's log-probs (nats) on every response segment that lacks them, as the stream `name`.

    Attributes:
        name: by default `stream_name` of the model as it is now, so that no other model's numbers pass for its own.
        spent: tokens run through the model, `score` calls and seconds.

    Args:
        model: run in evaluation mode and without gradients.
        name: a name of your own ("teacher", say), which a recipe can be told to measure from.
        targets: the segments to annotate; those by the policy or a human by default.
        temperature: divides the logits.
        adapter: False for the model with its adapter switched off.
        tokens: trees share a pass up to this many tokens; a larger tree has one of its own.
        precision: of matrix products; "auto" is what training chooses on the same machine.
        greedy: write the id of the token that the model finds likeliest at each place, not a log-prob.
    """

    def __init__(
        self,
        model: Model,
        name: str | None = None,
        *,
        targets: Callable[[Node], bool] = lambda node: node.author in ("policy", "human"),
        temperature: float = 1.0,
        adapter: bool = True,
        tokens: int = 3072,
        precision: Setting = "auto",
        greedy: bool = False,
    ) -> None:
        self.model, self.targets, self.temperature = model, targets, temperature
        self.adapter, self.tokens, self.greedy = adapter, tokens, greedy
        self.precision = resolve_precision(precision, model)
        self.name = name or stream_name(model, self.precision, temperature, adapter=adapter, greedy=greedy)
        self.spent = Ledger()
        self._weights = Weights.of(model)

    def lacking(self, tree: Tree) -> list[Node]:
        """The nodes of an encoded tree that should have the stream and have none for their tokens."""
        return lacking(tree, self.name, self.targets)

    def score(self, forest: Forest, progress: Callable[[int, int], None] = lambda done, total: None) -> Forest:
        """Annotate in place what lacks the stream. The trees of a stored forest are read and returned.

        Args:
            progress: called with the trees done and their number, among those that lack the stream.

        Raises:
            ContextLengthError: a response is longer than the model's context.
            ModelError: token ids of another tokenizer, or the model has changed since this object was made.
        """
        start = time.perf_counter()
        settle_process()
        if not Weights.of(self.model).same(self._weights):
            raise ModelError(f"the model has changed since the stream {self.name!r} was named; make a new one for it")
        forest = forest.load()
        encode(forest, self.model.tokenizer, self.model.fingerprint)
        waiting = [(tree, nodes) for tree in forest if (nodes := self.lacking(tree))]
        done = 0
        for first in range(0, len(waiting), _TOGETHER):
            cuts = [_cut(tree, nodes) for tree, nodes in waiting[first : first + _TOGETHER]]
            sizes = [sum(len(node.token_ids or ()) for node in cut.walk()) for cut, _ in cuts]
            for group in fill(sizes, self.tokens):
                self._annotate([cuts[i][0] for i in group], {k: v for i in group for k, v in cuts[i][1].items()})
                done += len(group)
                progress(done, len(waiting))
        self.spent += Ledger(calls=1, seconds=time.perf_counter() - start)
        return forest

    def _annotate(self, trees: Sequence[Tree], originals: dict[Node, Node]) -> None:
        packed = pack(trees, targets=originals.__contains__, device=self.model.device)
        for copy, values in zip(packed.nodes, self._numbers(packed), strict=True):
            if copy in originals:
                unpredicted = len(copy.token_ids or ()) - len(values)  # the first token of a text
                put_stream(originals[copy], self.name, np.pad(values, (unpredicted, 0), constant_values=np.nan))
        self.spent += Ledger(scored=len(packed.token_ids))

    def _numbers(self, packed: Packed) -> list[np.ndarray]:
        """For each segment, the log-probs of its targets, or the likeliest tokens."""
        products = matrix_products(self.precision, self.model.device)
        as_it_started = nullcontext() if self.adapter else self.model.reference()
        with torch.inference_mode(), evaluating(self.model), products, as_it_started:
            outputs = self.model(packed, temperature=self.temperature, top=int(self.greedy))
        found = outputs.top[1][:, 0] if self.greedy else outputs.logprobs
        counts = torch.bincount(packed.target_segment, minlength=len(packed.nodes)).tolist()
        return [part.numpy().copy() for part in found.float().cpu().split(counts)]


def _cut(tree: Tree, nodes: list[Node]) -> tuple[Tree, dict[Node, Node]]:
    """The part of a tree that must be run, and the original of each copy that is to be annotated."""
    needed = {step for node in nodes for step in node.path()}
    cut = tree.copy(keep=needed.__contains__)
    wanted = set(nodes)
    walks = zip(cut.walk(), (node for node in tree.walk() if node in needed), strict=True)
    return cut, {copy: node for copy, node in walks if node in wanted}
