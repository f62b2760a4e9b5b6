"""What a model's last layer sees at the end of each response: the features in which a policy is linear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float

from espalier.models import Model, encode, pack
from espalier.models.padded import padded_hidden
from espalier.scorers.models import evaluating
from espalier.trees import Forest, Node


def last_hidden(model: Model, forest: Forest) -> Callable[[Node], Float[np.ndarray, "width"]]:
    """The hidden state of the last layer at a leaf's last token, looked up by node; the forest must be in memory.

    Raises:
        ModelError: token ids of another tokenizer.
    """
    encode(forest, model.tokenizer, model.fingerprint)
    found: dict[Node, Float[np.ndarray, "width"]] = {}
    with torch.inference_mode(), evaluating(model):
        for tree in forest:
            if tree.leaves():
                packed = pack([tree], device=model.device)
                states = padded_hidden(model.hf.base_model, packed)[packed.last].float().cpu().numpy()
                found.update((packed.nodes[leaf], states[leaf]) for leaf in packed.leaves.tolist())
    return found.__getitem__
