from __future__ import annotations

import pytest
import torch

from espalier.losses import Term, reduce, totals


def test_weighted_mean_and_scale() -> None:
    terms = {"a": Term(torch.tensor([1.0, 3.0]), "token"), "b": Term(torch.tensor([10.0]), "pair", scale=0.1)}
    weights = {"token": torch.tensor([1.0, 3.0]), "pair": torch.tensor([2.0])}
    total, parts = reduce(terms, weights, totals([weights]))
    assert parts == {"a": 2.5, "b": 10.0}
    assert float(total) == pytest.approx(3.5)


def test_an_item_of_weight_zero_may_hold_inf_or_nan() -> None:
    values = torch.tensor([2.0, torch.inf, torch.nan], requires_grad=True)
    weights = {"token": torch.tensor([1.0, 0.0, 0.0])}
    total, _ = reduce({"a": Term(values, "token")}, weights, totals([weights]))
    total.backward()
    assert total.item() == 2.0
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 0.0, 0.0]


def test_items_and_weights_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'a': \(2,\) values for \(3,\) tokens"):
        reduce({"a": Term(torch.zeros(2), "token")}, {"token": torch.ones(3)}, {"token": 3.0})


def test_a_step_with_nothing_to_learn_from_is_refused() -> None:
    weights = {"pair": torch.zeros(2)}
    with pytest.raises(ValueError, match="no pair to learn from"):
        reduce({"a": Term(torch.zeros(2), "pair")}, weights, totals([weights]))


def test_totals_are_exact_for_many_small_weights() -> None:
    """In fp32 a running sum of a million tenths is off by more than 900."""
    assert totals([{"token": torch.full((1_000_000,), 0.1)}])["token"] == pytest.approx(1e5, rel=1e-6)
