"""The fallback for layers that cannot see a tree: every path from a root to an end is a row of a padded batch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from espalier.models.packing import Packed


def padded_hidden(trunk: nn.Module, packed: Packed) -> Float[Tensor, "tokens width"]:
    """The hidden states at the packed tokens, from a right-padded batch; a shared token is read from its first row."""
    start, end = packed.start.tolist(), packed.end.tolist()
    rows = [[token for segment in path for token in range(start[segment], end[segment])] for path in packed.paths]
    longest = max(map(len, rows))
    device = packed.token_ids.device
    index = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)
    real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
    place: dict[int, int] = {}
    for r, row in enumerate(rows):
        for column, token in enumerate(row):
            place.setdefault(token, r * longest + column)
    output = trunk(input_ids=packed.token_ids[index], attention_mask=real, use_cache=False)
    where = torch.tensor([place[token] for token in range(len(packed.token_ids))], device=device)
    return output.last_hidden_state.flatten(0, 1).index_select(0, where)
