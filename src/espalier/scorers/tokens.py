"""What a model says at every token, for a person to look at: streams that the report draws as strips of colour.

`Node.scores` hold one number a step. Where inside a step it went wrong is told by the tokens: the value after each,
the advantage (how much the token changed the value; Schulman et al. 2016, arXiv 1506.02438, with gamma = lambda = 1 and
no reward on the way), and how likely the model finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from espalier.engines.stops import Decoder
from espalier.errors import ModelError
from espalier.models import Model, encode, pack
from espalier.models.logprobs import output_layer
from espalier.models.numerics import Setting, matrix_products, resolve_precision, settle_process
from espalier.scorers.models import evaluating
from espalier.trees import Forest, Ledger, Node, Tree, put_stream, read_stream
from espalier.trees.streams import TOKEN_ENDS


class TokenView:
    """Writes the streams "logprob", "value" and "advantage" (as far as the model has them) on every response segment.

    Also where each token ends in the text (`espalier.trees.streams.TOKEN_ENDS`), without which nobody could tell which
    token wrote what. Nats; a value is a probability where the head's link says so.

    Args:
        model: judged in evaluation mode and without gradients.
        precision: of matrix products.
    """

    def __init__(self, model: Model, precision: Setting = "auto") -> None:
        self.model, self.name = model, "tokens"
        self.precision = resolve_precision(precision, model)
        self.spent = Ledger()
        self._decoder = Decoder(model.tokenizer)
        try:
            output_layer(model.hf)
            self._writes = True
        except ModelError:  # a saved scorer has no output matrix
            self._writes = False

    def score(self, forest: Forest, progress: Callable[[int, int], None] = lambda done, total: None) -> Forest:
        """Annotate in place. The trees of a stored forest are read and returned.

        Raises:
            ContextLengthError: a path is longer than the model's context.
            ModelError: token ids of another tokenizer.
        """
        start = time.perf_counter()
        settle_process()
        forest = forest.load()
        encode(forest, self.model.tokenizer, self.model.fingerprint)
        for done, tree in enumerate(forest, 1):
            self._annotate(tree)
            progress(done, len(forest))
        self.spent += Ledger(calls=1, seconds=time.perf_counter() - start)
        return forest

    def _annotate(self, tree: Tree) -> None:
        packed = pack([tree], targets=lambda node: node.parent is not None, device=self.model.device)
        heads = ("value",) if "value" in self.model.heads else ()
        products = matrix_products(self.precision, self.model.device)
        with torch.inference_mode(), evaluating(self.model), products:
            outputs = self.model(packed, logprobs=self._writes, heads=heads)
        self.spent += Ledger(scored=len(packed.token_ids))
        places = list(zip(packed.nodes, packed.start.tolist(), packed.end.tolist(), strict=True))
        for node, _, _ in places[1:]:
            put_stream(node, TOKEN_ENDS, self._ends(node))
        if outputs.logprobs is not None:
            at = np.full(len(packed.token_ids), np.nan, np.float32)
            at[packed.targets.cpu().numpy()] = outputs.logprobs.float().cpu().numpy()
            for node, start, end in places[1:]:
                put_stream(node, "logprob", at[start:end])
        if heads:
            values = outputs.value("value").cpu().numpy()
            for node, start, end in places:
                put_stream(node, "value", values[start:end])
            for node, start, end in places[1:]:
                put_stream(node, "advantage", np.diff(values[start:end], prepend=_before(node)))

    def _ends(self, node: Node) -> list[int]:
        """The characters of the node's text that stand after each of its tokens."""
        ids = node.token_ids or []
        [before] = [segment.token_ids for segment in node.path()[:-1] if segment.token_ids][-1:] or [[ids[0]]]
        texts = self._decoder.texts([before[-1]] * len(ids), [ids[: i + 1] for i in range(len(ids))])
        # A character of which a token has only some bytes is the text of the token that completes it.
        return [min(len(text.rstrip("�")), len(node.text)) for text in texts]


def _before(node: Node) -> float:
    """The value of the state that the node's author found; NaN where nothing stands before."""
    for above in reversed(node.path()[:-1]):
        values = read_stream(above, "value")
        if values is not None and len(values):
            return float(values[-1])
    return float("nan")
