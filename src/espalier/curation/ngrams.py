"""Hashed n-grams: a text as a short vector of counts, whatever its vocabulary (Xie et al. 2023, arXiv 2302.03169)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from espalier.trees import Tree


def words(text: str) -> list[str]:
    """Runs of letters and digits, and runs of other signs, in lower case.

    >>> words("It's 1+1=2.")
    ['it', "'", 's', '1', '+', '1', '=', '2', '.']
    """
    return re.findall(r"\w+|[^\w\s]+", text.lower())


def hashed_ngrams(
    texts: Sequence[str], buckets: int = 10_000, bigrams: bool = True, split: Callable[[str], list[str]] = words
) -> Int[np.ndarray, "texts buckets"]:
    """How many unigrams (and bigrams) of each text fall into each bucket.

    Args:
        split: a text into words; `list` takes characters.
    """
    counts = np.zeros((len(texts), buckets), dtype=np.int32)
    places: dict[str, int] = {}
    for row, text in enumerate(texts):
        found = split(text)
        for gram in found + [f"{one} {two}" for one, two in pairwise(found)] if bigrams else found:
            place = places.get(gram)
            if place is None:
                digest = blake2b(gram.encode(), digest_size=8).digest()
                place = places[gram] = int.from_bytes(digest, "little") % buckets
            counts[row, place] += 1
    return counts


def text_of(tree: Tree) -> str:
    """All that a tree says, each segment once."""
    return "".join(node.text for node in tree.walk())
