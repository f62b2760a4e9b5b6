"""Can this model's layers see a tree? Its config says where surely not; a small trial says the rest.

The trial runs one small branching tree both ways. It costs two tiny forward passes, once, and finds what no flag tells:
position biases, convolutions, recurrences beside the attention, and logits that are changed in an unknown way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from espalier.errors import ModelError
from espalier.models.attention import NAME, UnsupportedAttentionError
from espalier.models.logprobs import logit_rule, logprobs, output_layer
from espalier.models.packing import Packed, pack
from espalier.models.padded import padded_hidden
from espalier.trees import Node, Tree


def tree_hidden(trunk: nn.Module, packed: Packed) -> Float[Tensor, "tokens width"]:
    """The hidden states of all tokens, each prefix run once."""
    output = trunk(
        input_ids=packed.token_ids[None],
        position_ids=packed.positions[None],
        # transformers hands a four-dimensional mask on unread, so no [tokens, tokens] mask is made.
        attention_mask=packed.token_ids.new_zeros(1, 1, 1, 1, dtype=torch.bool),
        use_cache=False,
        tree=packed.plan,
    )
    return output.last_hidden_state[0]


def window(hf: PreTrainedModel) -> int | None:
    """The longest path on which every layer still sees all of it; None for no limit."""
    config = hf.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and "sliding_attention" not in kinds:
        return None
    return getattr(config, "sliding_window", None)


def tree_obstacle(hf: PreTrainedModel) -> str | None:
    """Why packed trees are not for this model, or None; where they are, its attention is switched to take them."""
    config = hf.config.get_text_config()
    others = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if others:
        return f"it has layers of type {', '.join(sorted(others))}"
    if not hf._supports_attention_backend:
        return "its attention does not come from transformers' registry"
    before = config._attn_implementation
    if before not in ("sdpa", NAME):
        return f"its attention runs as {before!r}, not 'sdpa'"
    with _quiet(hf):
        packed = _trial(hf)
        expected = padded_hidden(hf.base_model, packed)
        hf.set_attn_implementation(NAME)
        try:
            found = tree_hidden(hf.base_model, packed)
        except (UnsupportedAttentionError, TypeError, ValueError, RuntimeError, IndexError) as error:
            reason = f"a trial failed: {str(error).splitlines()[0]}"
        else:
            if _close(found, expected):
                return None
            reason = f"a trial gave other hidden states (largest difference {(found - expected).abs().max():.1e})"
        hf.set_attn_implementation(before)
    return reason


def check_logits(hf: PreTrainedModel) -> None:
    """Compare chunked log-probs with the model's own logits.

    Raises:
        ModelError: they differ: the model does something to its logits that `LogitRule` does not know.
    """
    layer = output_layer(hf)
    with _quiet(hf):
        packed = _trial(hf)
        ids = packed.token_ids[:3]
        hidden = hf.base_model(input_ids=ids[None], use_cache=False).last_hidden_state[0, :2]
        found, _, _ = logprobs(hidden, ids[1:], layer.weight, layer.bias, logit_rule(hf))
        logits = hf(input_ids=ids[None], use_cache=False).logits[0, :2]
        expected = logits.to(found.dtype).log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    if not _close(found, expected.to(found.dtype), hidden.dtype):
        raise ModelError(
            f"{type(hf).__name__} changes its logits in a way that Espalier does not know "
            f"(log-probs {found.tolist()}, its own {expected.tolist()}); add the rule to espalier.models.logprobs"
        )


def _trial(hf: PreTrainedModel) -> Packed:
    """A tree with a fork below a fork, small enough for a vocabulary and a context of a few tokens."""
    tokens = hf.config.get_text_config().vocab_size

    def node(*ids: int) -> Node:
        return Node("", "policy", token_ids=[i % tokens for i in ids])

    root = node(0, 1)
    first = root.add(node(2))
    first.add(node(3))
    first.add(node(1))
    root.add(node(4, 0))
    return pack([Tree(root)], device=hf.device)


def _close(found: Tensor, expected: Tensor, dtype: torch.dtype | None = None) -> bool:
    dtype = dtype or found.dtype
    tolerance = 5e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-3
    return bool((found - expected).abs().max() <= tolerance * (1 + expected.abs().max()))


@contextmanager
def _quiet(hf: PreTrainedModel) -> Iterator[None]:
    """No dropout, no gradients, no autocast, and each module's mode as it was afterwards."""
    modes = [(module, module.training) for module in hf.modules()]
    hf.eval()
    try:
        with torch.no_grad(), torch.autocast(hf.device.type, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
