"""The log-prob of a whole response, read from a stream of log-probs: what clear and conditional selection go by."""

from __future__ import annotations

import numpy as np

from espalier.trees import Node, read_stream


def response_logprob(leaf: Node, stream: str, average: bool = False) -> float | None:
    """The log-prob of a whole response by a stream of log-probs, in nats; None where a segment lacks the stream.

    Args:
        average: the mean over tokens instead of their sum.
    """
    values = []
    for node in leaf.path():
        if node.author in ("policy", "human"):
            found = read_stream(node, stream)
            if found is None:
                return None
            values.append(found)
    tokens = np.concatenate(values) if values else np.zeros(0)
    return float(tokens.mean() if average else tokens.sum()) if len(tokens) else None
