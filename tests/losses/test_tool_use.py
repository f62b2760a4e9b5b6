"""ASPO's advantages, worked out by hand."""

from __future__ import annotations

import torch

from espalier.losses.tool_use import early_calls


def test_early_calls_of_right_responses_gain_a_share_at_most() -> None:
    inf = float("inf")
    shaped = early_calls(
        advantages=torch.tensor([1.0, 1.0, 1.0, -2.0, 0.0, 0.0]),
        position=torch.tensor([0.0, 2.0, inf, 0.0, 0.0, 9.0]),
        length=torch.tensor([10.0, 10.0, 10.0, 10.0, 10.0, 10.0]),
        groups=torch.tensor([0, 0, 0, 0, 1, 1]),
        right=torch.tensor([True, True, True, False, True, True]),
        strength=2.0,
        share=0.5,
    )
    # mean position 1 of the two right ones that call: +-2 * 1 / 10; without a signal from the group nothing is added.
    torch.testing.assert_close(shaped, torch.tensor([1.2, 0.8, 1.0, -2.0, 0.0, 0.0]))
    strong = early_calls(*(torch.tensor([[1.0, 1.0], [0.0, 2.0], [2.0, 2.0]])), torch.tensor([0, 0]), torch.ones(2) > 0)
    torch.testing.assert_close(strong, torch.tensor([1.5, 0.5]))
