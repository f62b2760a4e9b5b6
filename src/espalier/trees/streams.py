"""Numbers that belong to tokens, kept with the tree: a model's log-probs, say, one stream a model.

A stream remembers for which tokens it was computed, from the start of the prompt on. Where a node's text was edited,
encoded anew or hung under another prompt, the stream is as good as absent; it is never read on other tokens.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    from espalier.trees.node import Node


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One number for each token of a node.

    Attributes:
        values: NaN where there is none, as for the log-prob of a prompt's first token.
        path: the digest of the tokens from the root to the node's end that the values were computed for.
    """

    values: Float32[np.ndarray, "tokens"]
    path: int


def put_stream(node: Node, name: str, values: Sequence[float] | Float32[np.ndarray, "tokens"]) -> None:
    """Store `values`, one for each token id of the node.

    Raises:
        ValueError: another number of values than of token ids, or a node on the path without token ids.
    """
    found = np.asarray(values, np.float32)
    if node.token_ids is None or found.shape != (len(node.token_ids),):
        tokens = "no" if node.token_ids is None else len(node.token_ids)
        raise ValueError(f"stream {name!r} has {found.size} values for {tokens} token ids; expected one for each")
    node.streams[name] = Stream(found, path_digest(node))


def read_stream(node: Node, name: str) -> Float32[np.ndarray, "tokens"] | None:
    """The values of a stream, or None where there is none for the tokens that now stand on the node's path.

    >>> from espalier.trees import Node
    >>> prompt = Node("1+1=", "prompt", token_ids=[5, 9, 5, 8])
    >>> answer = prompt.add(Node("2", token_ids=[6]))
    >>> put_stream(answer, "teacher", [-0.5])
    >>> read_stream(answer, "teacher").tolist()
    [-0.5]
    >>> prompt.token_ids = [7, 9, 5, 8]
    >>> read_stream(answer, "teacher") is None
    True
    """
    stream = node.streams.get(name)
    if stream is None or node.token_ids is None or len(stream.values) != len(node.token_ids):
        return None
    if any(segment.token_ids is None for segment in node.path()):
        return None
    return stream.values if stream.path == path_digest(node) else None


TOKEN_ENDS = "ends"
"""The stream that says where each token ends in its node's text, in characters; an end-of-text token adds none."""


def pieces(node: Node) -> list[str] | None:
    """The node's text cut into its tokens, or None where nobody wrote down where they end (`TOKEN_ENDS`).

    >>> from espalier.trees import Node
    >>> answer = Node("twelve", token_ids=[7, 3, 0], stop="eos")
    >>> put_stream(answer, TOKEN_ENDS, [5, 6, 6])
    >>> pieces(answer)
    ['twelv', 'e', '']
    """
    ends = read_stream(node, TOKEN_ENDS)
    if ends is None:
        return None
    cuts = [0, *ends.astype(int).tolist()]
    return [node.text[start:end] for start, end in pairwise(cuts)]


def path_digest(node: Node) -> int:
    """64 bits of the token ids from the root to the end of the node; how they are cut into segments is no matter.

    Raises:
        ValueError: a segment without token ids.
    """
    ids = array("i")
    for segment in node.path():
        if segment.token_ids is None:
            raise ValueError(f"the segment {segment.text[:60]!r} has no token ids, so no stream of numbers fits it")
        ids.extend(segment.token_ids)
    return int.from_bytes(blake2b(ids.tobytes(), digest_size=8).digest(), "little", signed=True)
