from __future__ import annotations

from itertools import permutations
from math import log

import torch

from espalier.losses.preference import dpo, plackett_luce, rrhf

D = torch.float64


def test_two_items_are_dpo() -> None:
    logratio = torch.tensor([[1.0, -0.5], [0.2, 3.0]], dtype=D)
    lists = plackett_luce(0.3 * logratio, torch.ones(2, 2).bool())
    torch.testing.assert_close(lists, dpo(logratio[:, 0], logratio[:, 1], 0.3))


def test_the_probabilities_of_all_rankings_add_up_to_one() -> None:
    scores = torch.tensor([1.0, -0.5, 2.0, 0.3], dtype=D)
    every = torch.stack([scores[list(order)] for order in permutations(range(4))])
    losses = plackett_luce(every, torch.ones_like(every).bool())
    torch.testing.assert_close((-losses).exp().sum(), torch.ones((), dtype=D))


def test_an_absent_item_is_not_read() -> None:
    for dtype in (torch.float32, D):
        scores = torch.tensor([[1.0, 0.5, torch.nan, torch.inf], [1.0, 0.5, -1.0, 0.0]], dtype=dtype).requires_grad_()
        present = torch.tensor([[True, True, False, False], [True, True, True, True]])
        losses = plackett_luce(scores, present)
        torch.testing.assert_close(losses[:1], plackett_luce(scores[:1, :2], present[:1, :2]))
        losses.sum().backward()
        assert scores.grad is not None
        assert torch.isfinite(scores.grad).all()
        assert (scores.grad[0, 2:] == 0).all()


def test_rrhf_by_hand() -> None:
    """Ranks 2 > 1 > 0 by reward: only the pairs in the wrong order cost, and the best response is imitated."""
    mean = torch.tensor([[-1.0, -3.0, -2.0, torch.nan]], dtype=D)
    present = torch.tensor([[True, True, True, False]])
    loss = rrhf(mean, 4 * mean, torch.tensor([[0.0, 1.0, 2.0, 9.0]], dtype=D), present)
    torch.testing.assert_close(loss, torch.tensor([2.0 + 1.0 + 8.0], dtype=D))


def test_equal_rewards_are_not_compared() -> None:
    mean = torch.tensor([[-1.0, -3.0]], dtype=D)
    assert rrhf(mean, torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2).bool()).item() == 0.0


def test_best_of_a_list_is_the_softmax_where_nothing_else_is_ranked() -> None:
    scores = torch.zeros(1, 3, dtype=D)
    torch.testing.assert_close(plackett_luce(scores, torch.ones(1, 3).bool()), torch.tensor([log(6)], dtype=D))
