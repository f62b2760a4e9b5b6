"""A tiny real model and small real data of each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from espalier.models import Model, from_config, train_tokenizer
from espalier.trees import Forest, Node, Score, Tree
from espalier.worlds.arithmetic import ALPHABET, Arithmetic
from tests.tiny import config

TINY = config("qwen3", 32, 2, 1, head_dim=16, max_position_embeddings=256)


@pytest.fixture
def tiny() -> Callable[..., Model]:
    tokenizer = train_tokenizer([ALPHABET], kind="char")
    return lambda seed=0: from_config(TINY, tokenizer, seed=seed)


@pytest.fixture
def problems() -> Forest:
    return Arithmetic(levels=(1, 2), largest=20).problems(24)


@pytest.fixture
def demonstrations() -> Forest:
    return Arithmetic(levels=(1, 2), largest=20).demonstrations(24)


@pytest.fixture
def judged(demonstrations: Forest) -> Forest:
    """Under each prompt its worked solution and two wrong ones, one of a shared first step, one label missing."""
    trees = []
    for i, tree in enumerate(demonstrations):
        made = Tree(Node(tree.prompt, "prompt"), tree.id, dict(tree.meta))
        right = tree.leaves()[0].text
        head, _, tail = right.partition("\n")
        step = made.root.add(Node(head + "\n", "human"))
        step.add(Node(tail, "human", stop="eos", scores={"label": Score(1.0), "preference": Score(1.0)}))
        step.add(Node(tail + "0", "human", stop="eos", scores={"label": Score(0.0), "preference": Score(0.0)}))
        lost = Score(0.0) if i % 3 else Score.absent("not labelled")
        made.root.add(Node("#1", "human", stop="eos", scores={"label": lost}))
        trees.append(made)
    return Forest(trees)
