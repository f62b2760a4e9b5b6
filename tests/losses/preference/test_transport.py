from __future__ import annotations

from math import exp, log

import pytest
import torch

from espalier.losses.preference import aot, aot_unpaired, by_rank


def test_ranks_are_matched() -> None:
    values, others = torch.tensor([3.0, -1.0, 2.0]), torch.tensor([10.0, 30.0, 20.0])
    assert others[by_rank(values, others)].tolist() == [30.0, 10.0, 20.0]


def test_samples_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 values cannot be matched by rank with 2"):
        by_rank(torch.zeros(3), torch.zeros(2))


def test_values_by_hand() -> None:
    loss = aot(torch.tensor([3.0]), torch.tensor([1.0]), 0.5, noise=0.1)
    torch.testing.assert_close(loss, torch.tensor([0.9 * log(1 + exp(-1)) + 0.1 * log(1 + exp(1))]))
    torch.testing.assert_close(aot_unpaired(torch.tensor([3.0]), torch.tensor([1.0]), 0.5, noise=0.1), loss)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    """Only the two distributions of margins count: shuffling one side leaves the mean as it is."""
    g = torch.Generator().manual_seed(0)
    policy, reference = torch.randn(2, 20, generator=g, dtype=torch.float64)
    shuffled = reference[torch.randperm(20, generator=g)]
    means = [aot(policy, other[by_rank(policy, other)], 0.5).mean() for other in (reference, shuffled)]
    torch.testing.assert_close(*means)
