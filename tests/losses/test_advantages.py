from __future__ import annotations

from itertools import product
from math import sqrt

import pytest
import torch

from espalier.losses import decoupled_gae, gae, group, leave_one_out, length_adaptive, reinforce

ALL = torch.tensor([True, True, True])


def test_gae_by_hand() -> None:
    """One sequence of three steps, reward 1 at the end, gamma 0.9, lambda 0.5."""
    rewards = torch.tensor([[0.0, 0.0, 1.0]])
    values = torch.tensor([[0.5, 0.6, 0.8]])
    advantages, returns = gae(rewards, values, ALL[None], gamma=0.9, lam=0.5)
    # deltas: 0.9*0.6-0.5 = 0.04, 0.9*0.8-0.6 = 0.12, 1-0.8 = 0.2; then 0.12+0.45*0.2 = 0.21, 0.04+0.45*0.21 = 0.1345
    torch.testing.assert_close(advantages, torch.tensor([[0.1345, 0.21, 0.2]]))
    torch.testing.assert_close(returns, torch.tensor([[0.6345, 0.81, 1.0]]))


def test_gae_ends() -> None:
    """lambda 1: the return is the discounted sum of rewards; lambda 0: the one-step target."""
    rewards, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.3, -0.2, 0.7]])
    torch.testing.assert_close(gae(rewards, values, ALL[None], 0.5, 1.0).returns, torch.tensor([[3.0, 4.0, 4.0]]))
    torch.testing.assert_close(gae(rewards, values, ALL[None], 0.5, 0.0).returns, torch.tensor([[0.9, 2.35, 4.0]]))


def test_gae_of_the_true_values_is_zero() -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    values = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    assert not gae(rewards, values, ALL.expand(2, 3), 1.0, 0.95).advantages.any()


def test_gae_of_ragged_sequences_is_that_of_each_alone_wherever_its_steps_lie() -> None:
    """Padding on either side and a hole for a tool's answer are passed over, whatever they hold."""
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 3, generator=g)
    alone = gae(rewards[None], values[None], ALL[None], 0.9, 0.8)
    places = [[0, 1, 2], [3, 4, 5], [0, 3, 5]]
    wide_rewards, wide_values = torch.full((2, 3, 6), torch.nan)
    mask = torch.zeros(3, 6, dtype=torch.bool)
    for row, place in enumerate(places):
        wide_rewards[row, place], wide_values[row, place], mask[row, place] = rewards, values, True
    wide = gae(wide_rewards, wide_values, mask, 0.9, 0.8)
    for row, place in enumerate(places):
        torch.testing.assert_close(wide.advantages[row, place], alone.advantages[0])
        torch.testing.assert_close(wide.returns[row, place], alone.returns[0])
    assert not wide.advantages[~mask].any()
    assert not wide.returns[~mask].any()


def test_group_by_hand() -> None:
    rewards = torch.tensor([1.0, 5.0, 0.0, 7.0, 2.0])
    groups = torch.tensor([4, 9, 4, 9, 4])
    known = torch.ones(5, dtype=torch.bool)
    plain = group(rewards, groups, known, standardise=False)
    torch.testing.assert_close(plain.advantages, torch.tensor([0.0, -1.0, -1.0, 1.0, 1.0]))
    scaled = group(rewards, groups, known)  # standard deviations 1 and sqrt(2)
    torch.testing.assert_close(scaled.advantages, torch.tensor([0.0, -1 / sqrt(2), -1.0, 1 / sqrt(2), 1.0]))
    assert scaled.counted.all()


def test_leave_one_out_by_hand() -> None:
    rewards, groups = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.zeros(4, dtype=torch.long)
    advantages, _ = leave_one_out(rewards, groups, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(advantages, torch.tensor([2 / 3, -2 / 3, -2 / 3, 2 / 3]))


@pytest.mark.parametrize("advantage", [group, leave_one_out])
def test_a_missing_reward_is_left_out_not_counted_as_zero(advantage) -> None:
    rewards = torch.tensor([1.0, 0.0, torch.nan, 1.0])
    known = torch.tensor([True, True, False, True])
    groups = torch.zeros(4, dtype=torch.long)
    advantages, counted = advantage(rewards, groups, known)
    without, _ = advantage(rewards[known], groups[known], known[known])
    torch.testing.assert_close(advantages[known], without)
    assert advantages[2] == 0
    assert counted.tolist() == [True, True, False, True]


@pytest.mark.parametrize("advantage", [group, leave_one_out])
def test_a_group_with_fewer_than_two_known_rewards_says_nothing(advantage) -> None:
    rewards = torch.tensor([1.0, 0.5, 0.2, 0.9, 0.1])
    groups = torch.tensor([0, 0, 1, 2, 2])
    known = torch.tensor([True, False, True, True, True])
    advantages, counted = advantage(rewards, groups, known)
    assert counted.tolist() == [False, False, False, True, True]
    assert advantages[:3].tolist() == [0.0, 0.0, 0.0]
    assert advantages[3] > 0 > advantages[4]


@pytest.mark.parametrize("advantage", [group, leave_one_out])
def test_equal_rewards_give_no_advantage_at_all(advantage) -> None:
    """Not even rounding noise blown up by a tiny standard deviation."""
    advantages, counted = advantage(torch.full((7,), 0.1), torch.zeros(7, dtype=torch.long), torch.ones(7).bool())
    assert advantages.abs().max() < 1e-8
    assert counted.all()


@pytest.mark.parametrize("advantage", [group, leave_one_out])
def test_a_nan_that_claims_to_be_known_is_refused(advantage) -> None:
    with pytest.raises(ValueError, match="1 of 2 rewards are NaN or infinite, the first at 1"):
        advantage(torch.tensor([0.0, torch.nan]), torch.zeros(2, dtype=torch.long), torch.tensor([True, True]))


def test_leave_one_out_with_reinforce_is_an_unbiased_policy_gradient() -> None:
    """Every group of three draws from three answers, enumerated, gives on average the gradient of the mean reward."""
    logits = torch.tensor([0.2, -0.4, 1.0], dtype=torch.float64, requires_grad=True)
    reward = torch.tensor([1.0, 0.0, 0.4], dtype=torch.float64)
    logprobs = logits.log_softmax(-1)
    (exact,) = torch.autograd.grad((logprobs.exp() * reward).sum(), logits, retain_graph=True)
    loss = torch.zeros((), dtype=torch.float64)
    for draws in product(range(3), repeat=3):
        drawn = torch.tensor(draws)
        advantages, _ = leave_one_out(reward[drawn], torch.zeros(3, dtype=torch.long), ALL)
        chance = logprobs.detach()[drawn].sum().exp()
        loss = loss + chance * reinforce(logprobs[drawn], advantages).mean()
    (estimate,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(-estimate, exact)


def test_every_sequence_may_have_its_own_lambda() -> None:
    torch.manual_seed(0)
    rewards, values, mask = torch.rand(2, 3), torch.rand(2, 3), torch.ones(2, 3, dtype=torch.bool)
    together = gae(rewards, values, mask, 0.9, torch.tensor([0.2, 1.0]))
    for row, lam in enumerate((0.2, 1.0)):
        alone = gae(rewards[row, None], values[row, None], mask[row, None], 0.9, lam)
        torch.testing.assert_close(together.advantages[row], alone.advantages[0])


def test_decoupled_gae_gives_the_policy_one_lambda_and_the_critic_another() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.6, 0.8]])
    found = decoupled_gae(rewards, values, ALL[None], lam=0.0)
    torch.testing.assert_close(found.advantages, torch.tensor([[0.1, 0.2, 0.2]]))  # one-step differences
    torch.testing.assert_close(found.returns, torch.ones(1, 3))  # the plain return


def test_the_td_errors_of_a_length_adaptive_lambda_reach_over_the_same_share_of_any_length() -> None:
    lengths = torch.tensor([20.0, 200.0, 2000.0])
    torch.testing.assert_close(1 / (1 - length_adaptive(lengths, alpha=0.1)), 0.1 * lengths)
    assert length_adaptive(torch.tensor([0.0, 1.0])).tolist() == [0.0, 0.0]
