"""What pack lays down, against small cases counted by hand."""

import pytest
import torch

from espalier.errors import ModelError
from espalier.models import pack
from espalier.models import plan as rules
from espalier.trees import Node, Tree


def hand_made() -> Tree:
    """Prompt a b; children c d (with child e, and an empty one) and f."""
    root = Node("", "prompt", token_ids=[10, 11])
    first = root.add(Node("", token_ids=[12, 13]))
    first.add(Node("", token_ids=[14]))
    first.add(Node("", token_ids=[]))
    root.add(Node("", token_ids=[15]))
    return Tree(root, "t")


def test_a_tree_is_laid_as_counted_by_hand():
    packed = pack([hand_made(), hand_made()])
    assert packed.token_ids.tolist() == [10, 11, 12, 13, 14, 15] * 2
    assert packed.positions.tolist() == [0, 1, 2, 3, 4, 2] * 2
    assert packed.segment.tolist() == [0, 0, 1, 1, 2, 4, 5, 5, 6, 6, 7, 9]
    assert packed.parent.tolist() == [-1, 0, 1, 1, 0, -1, 5, 6, 6, 5]
    assert packed.start.tolist()[:5] == [0, 2, 4, 5, 5]
    assert packed.end.tolist()[:5] == [2, 4, 5, 5, 6]
    assert packed.targets.tolist() == [2, 3, 4, 5, 8, 9, 10, 11]
    assert packed.predictors.tolist() == [1, 2, 3, 1, 7, 8, 9, 7]
    assert packed.target_segment.tolist() == [1, 1, 2, 4, 6, 6, 7, 9]
    assert packed.last.tolist()[:5] == [1, 3, 4, 3, 5]
    assert packed.leaves.tolist() == [2, 3, 4, 7, 8, 9]


def test_flat_packing_repeats_each_path_and_keeps_the_order_of_leaves():
    packed = pack([hand_made()], shared=False)
    assert packed.token_ids.tolist() == [10, 11, 12, 13, 14, 10, 11, 12, 13, 10, 11, 15]
    assert packed.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]
    assert packed.leaves.tolist() == [2, 5, 7]
    assert [packed.nodes[i] for i in packed.leaves] == hand_made_leaves(packed)


def hand_made_leaves(packed) -> list[Node]:
    return packed.trees[0].leaves()


@pytest.mark.parametrize("shared", [True, False])
def test_a_response_ends_before_what_a_critic_says_of_it(shared):
    root = Node("", "prompt", token_ids=[1])
    root.add(Node("", token_ids=[2])).add(Node("", "critic", token_ids=[3]))
    root.add(Node("", "critic", token_ids=[4])).add(Node("", token_ids=[5]))
    packed = pack([Tree(root)], shared=shared)
    assert [packed.nodes[i].token_ids for i in packed.leaves] == [[2], [5]]


def test_leaf_sums_add_each_path_once_and_pass_gradients_on():
    packed = pack([hand_made()])
    values = torch.tensor([1.0, 2.0, 4.0, 8.0], requires_grad=True)
    sums = packed.leaf_sums(values)
    assert sums.tolist() == [7.0, 3.0, 8.0]
    (sums * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    assert values.grad.tolist() == [11.0, 11.0, 1.0, 100.0]


def test_the_caller_says_which_segments_are_targets_and_a_root_keeps_its_first_token_out():
    packed = pack([hand_made()], targets=lambda node: node.author == "prompt")
    assert packed.targets.tolist() == [1]
    assert packed.predictors.tolist() == [0]


def test_a_tree_without_token_ids_or_without_a_prompt_token_is_refused():
    with pytest.raises(ModelError, match="'x' has a node without token ids; call encode"):
        pack([Tree(Node("hello", "prompt"), "x")])
    empty = Node("", "prompt", token_ids=[])
    empty.add(Node("", token_ids=[1]))
    with pytest.raises(ModelError, match="'y': its prompt has no token"):
        pack([Tree(empty, "y")])


def test_no_trees_make_an_empty_pack():
    packed = pack([])
    assert len(packed.token_ids) == len(packed.leaves) == 0
    assert packed.leaf_sums(torch.zeros(0)).shape == (0,)


def test_the_plan_lets_a_token_see_its_path_and_nothing_else(trees, monkeypatch):
    packed = pack(trees)
    whole = packed.plan.blocks
    monkeypatch.setattr(rules, "SHORT", 3)
    monkeypatch.setattr(rules, "FIXED", 0)
    parts = pack(trees).plan.blocks
    assert len(whole) < len(trees) < len(parts)
    for blocks in (whole, parts):
        seen = []
        for block in blocks:
            assert block.start == len(seen)
            keys = torch.cat([torch.arange(*each) for each in block.ranges])
            everyone = block.keys - block.mask.shape[1]
            seen += [keys[:everyone].tolist() + keys[everyone:][row == 0].tolist() for row in block.mask]
        for token in range(len(packed.token_ids)):
            path, segment = [], int(packed.segment[token])
            while segment >= 0:
                path = [t for t in range(packed.start[segment], packed.end[segment]) if t <= token] + path
                segment = int(packed.parent[segment])
            assert seen[token] == path
            assert path == [k for k in range(token + 1) if token < packed.plan.subtree_end[k]]  # for flex attention


def test_blocks_join_small_segments_and_cut_long_ones(monkeypatch):
    monkeypatch.setattr(rules, "SHORT", 128)
    monkeypatch.setattr(rules, "FIXED", 4096)
    root = Node("", "prompt", token_ids=[1] * 300)
    for size in (10, 10, 200):
        root.add(Node("", token_ids=[2] * size))
    blocks = pack([Tree(root)]).plan.blocks
    assert [(b.start, b.end, b.ranges) for b in blocks] == [
        (0, 100, ((0, 100),)),
        (100, 200, ((0, 200),)),
        (200, 320, ((0, 320),)),
        (320, 420, ((0, 300), (320, 420))),
        (420, 520, ((0, 300), (320, 520))),
    ]
    assert [b.mask.shape[1] for b in blocks] == [100, 100, 120, 100, 100]
    long = pack([Tree(Node("", "prompt", token_ids=[1] * 1000))]).plan
    assert [b.end for b in long.blocks] == [250, 500, 750, 1000]
    assert long.mean_keys == 625
