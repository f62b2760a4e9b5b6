"""Scorers that are models: one packed pass over a tree scores all its responses, or all steps of all of them.

A scorer runs copies of the paths to what has no score yet, so a growing tree is never scored twice and the tree itself
gets nothing but scores. Where a tree's token ids are another tokenizer's, its text is encoded anew for the pass.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from espalier.errors import ModelError
from espalier.losses import token_rewards
from espalier.models import Model, Packed, encode_node, pack
from espalier.models.numerics import Setting, matrix_products, resolve_precision, settle_process
from espalier.trees import Forest, Ledger, Node, Score, Tree


@dataclass(frozen=True, slots=True)
class _Cut:
    """The part of a tree that must be run: a copy, its size in tokens, and the original of each copy that is judged."""

    tree: Tree
    tokens: int
    originals: dict[Node, Node]


class ModelScorer(ABC):
    """The shared mechanism; a subclass says which nodes are judged and what the model says of them.

    A path longer than the model's context, and a value that is not finite, are missing scores with the reason.

    Attributes:
        model: judged in evaluation mode and without gradients; its mode is restored.
        name: of the score.
        tokens: trees share a pass up to this many tokens; a larger tree has one of its own.
        precision: of matrix products; "auto" is what training chooses on the same machine.
        spent: tokens run through a model, `score` calls and seconds.
    """

    passes = 1
    """How often the model runs each token."""

    def __init__(self, model: Model, name: str, tokens: int, precision: Setting) -> None:
        self.model, self.name, self.tokens, self.precision = model, name, tokens, precision
        self.spent = Ledger()

    @abstractmethod
    def wants(self, node: Node) -> bool:
        """Whether this scorer judges the node; it is never asked about a root."""

    @abstractmethod
    def judge(self, packed: Packed) -> Iterable[tuple[Node, float]]:
        """Nodes of the pack with their values; those that were not wanted are ignored."""

    def score(self, forest: Forest) -> Forest:
        """Score in place what has no score of this name yet. The trees of a stored forest are read and returned."""
        start = time.perf_counter()
        settle_process()
        forest = forest.load()
        products = matrix_products(resolve_precision(self.precision, self.model), self.model.device)
        with torch.inference_mode(), evaluating(self.model), products:
            for cuts in self._passes(forest):
                packed = pack([cut.tree for cut in cuts], device=self.model.device)
                originals = {copy: node for cut in cuts for copy, node in cut.originals.items()}
                for copy, value in self.judge(packed):
                    if copy in originals:
                        finite = math.isfinite(value)
                        score = Score(value) if finite else Score.absent(f"the model's output is {value}")
                        originals[copy].scores[self.name] = score
                self.spent += Ledger(scored=self.passes * len(packed.token_ids))
        self.spent += Ledger(calls=1, seconds=time.perf_counter() - start)
        return forest

    def _passes(self, forest: Forest) -> Iterator[list[_Cut]]:
        """The cuts of the forest's trees, together up to the budget of tokens."""
        waiting: list[_Cut] = []
        for tree in forest:
            cut = self._cut(tree)
            if cut is None:
                continue
            if waiting and sum(each.tokens for each in waiting) + cut.tokens > self.tokens:
                yield waiting
                waiting = []
            waiting.append(cut)
        if waiting:
            yield waiting

    def _cut(self, tree: Tree) -> _Cut | None:
        wanted = {node for node in tree.walk() if node.parent and self.name not in node.scores and self.wants(node)}
        if not wanted:
            return None
        needed = {step for node in wanted for step in node.path()}
        cut = tree.copy(keep=needed.__contains__)
        foreign = cut.root.meta.get("tokenizer", self.model.fingerprint) != self.model.fingerprint
        ends: dict[Node | None, int] = {None: 0}
        originals: dict[Node, Node] = {}
        too_long: list[Node] = []
        for copy, node in zip(cut.walk(), (node for node in tree.walk() if node in needed), strict=True):
            if foreign:
                copy.token_ids = None
            copy.token_ids = encode_node(copy, self.model.tokenizer)
            ends[copy] = ends[copy.parent] + len(copy.token_ids)
            if ends[copy] > self.model.context_length:
                too_long.append(copy)
                if node in wanted:
                    reason = f"{ends[copy]} tokens exceed the context of {self.model.context_length}"
                    node.scores[self.name] = Score.absent(reason)
            elif node in wanted:
                originals[copy] = node
        for copy in too_long:
            copy.detach()
        if not originals:
            return None
        return _Cut(cut, sum(len(copy.token_ids or ()) for copy in cut.walk()), originals)


class _HeadScorer(ModelScorer):
    """What a head says at a node's last token, read out as the head's link says."""

    head: Literal["value", "reward"]

    def __init__(self, model: Model, name: str, tokens: int, precision: Setting) -> None:
        super().__init__(model, name, tokens, precision)
        if self.head not in model.heads:
            raise ModelError(
                f"{type(self).__name__} needs a {self.head!r} head, this model has {sorted(model.heads) or 'none'}; "
                f"train one, or load the checkpoint of a {self.head} model"
            )

    def judge(self, packed: Packed) -> Iterable[tuple[Node, float]]:
        values = self.model(packed, logprobs=False, heads=(self.head,)).value(self.head)[packed.last]
        return zip(packed.nodes, values.tolist(), strict=True)


class RewardScorer(_HeadScorer):
    """One number for each response, from the "reward" head at its last token (Ouyang et al. 2022, arXiv 2203.02155).

    Judges the leaves, but for those that only pause at a stop string.

    Raises:
        ModelError: the model has no reward head.
    """

    head = "reward"

    def __init__(self, model: Model, name: str = "reward", tokens: int = 8192, precision: Setting = "auto") -> None:
        super().__init__(model, name, tokens, precision)

    def wants(self, node: Node) -> bool:
        return node.ends_response and node.stop != "stop"


class ValueScorer(_HeadScorer):
    """A value after every step that the policy or a human wrote, all from one pass over the tree.

    The value is the "value" head's at the step's last token: a chance of ending correct, where the model was trained
    for that (Wang et al. 2023, "Math-Shepherd", arXiv 2312.08935). A step is a node: see `espalier.trees.views` to
    split responses that are one node each.

    Raises:
        ModelError: the model has no value head.
    """

    head = "value"

    def __init__(self, model: Model, name: str = "value", tokens: int = 8192, precision: Setting = "auto") -> None:
        super().__init__(model, name, tokens, precision)

    def wants(self, node: Node) -> bool:
        return node.author in ("policy", "human")


class ImplicitReward(ModelScorer):
    """The reward that a policy stands for: beta * log(policy / reference) of the response's policy and human tokens.

    Rafailov et al. 2023 (arXiv 2305.18290), equation 5, without the term that depends on the prompt alone. Nats.

    Args:
        reference: the policy before training; None for the same model with its adapter switched off.

    Raises:
        ModelError: the two have different tokenizers.
    """

    passes = 2

    def __init__(
        self,
        model: Model,
        reference: Model | None,
        beta: float,
        name: str = "implicit",
        tokens: int = 8192,
        precision: Setting = "auto",
    ) -> None:
        super().__init__(model, name, tokens, precision)
        if reference is not None and reference.fingerprint != model.fingerprint:
            raise ModelError("policy and reference have different tokenizers, so their log-probs are of other tokens")
        self.reference, self.beta = reference, beta

    def wants(self, node: Node) -> bool:
        return node.ends_response and node.stop != "stop"

    def judge(self, packed: Packed) -> Iterable[tuple[Node, float]]:
        sums = packed.leaf_sums(self.token_rewards(packed))
        return zip((packed.nodes[leaf] for leaf in packed.leaves.tolist()), sums.tolist(), strict=True)

    def token_rewards(self, packed: Packed) -> Float[Tensor, "targets"]:
        """beta * log(policy / reference) of every token by the policy or a human."""
        policy = self.model(packed).logprobs
        if self.reference is None:
            with self.model.reference():
                reference = self.model(packed).logprobs
        else:
            with evaluating(self.reference):
                reference = self.reference(packed).logprobs
        assert policy is not None
        assert reference is not None
        return token_rewards(policy, reference, self.beta)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the mode from before outside."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
