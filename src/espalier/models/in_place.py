"""Gradients of the vocabulary's matrix are added to its `.grad` where they are made.

With a vocabulary of 150,000 words this matrix outweighs a small model's layers. Autograd would hold a dense gradient of
the output matrix through the whole backward pass, make another for the embedding that shares its weights, and add both
to `.grad`: three such tensors where one will do. Megatron-LM calls it gradient accumulation fusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn
from transformers import PreTrainedModel

_IN_PLACE: ContextVar[bool] = ContextVar("espalier_gradients_in_place", default=False)


@contextmanager
def gradients_in_place(hf: PreTrainedModel) -> Iterator[None]:
    """For forward passes with log-probs, and their `backward()`; `torch.autograd.grad` would miss the output matrix.

    An embedding that shares the output matrix hands on only the rows that were read; alone it would leave a sparse
    `.grad`, which optimizers refuse, so it is left as it is.
    """
    embedding = _shared(hf)
    before = embedding is not None and embedding.sparse
    token = _IN_PLACE.set(True)
    try:
        if embedding is not None:
            embedding.sparse = embedding.weight.requires_grad
        yield
    finally:
        if embedding is not None:
            embedding.sparse = before
        _IN_PLACE.reset(token)


def _shared(hf: PreTrainedModel) -> nn.Embedding | None:
    """The embedding, if its weights are the output matrix."""
    output, embedding = hf.get_output_embeddings(), hf.get_input_embeddings()
    if isinstance(output, nn.Linear) and isinstance(embedding, nn.Embedding) and embedding.weight is output.weight:
        return embedding
    return None


def sum_of(weight: Tensor) -> Tensor | None:
    """Inside `gradients_in_place`, the `.grad` that a trained leaf's gradient is to be added to; else None."""
    if not (_IN_PLACE.get() and weight.is_leaf and weight.requires_grad):
        return None
    if weight.grad is None:
        weight.grad = weight.new_zeros(weight.shape)
    return weight.grad
