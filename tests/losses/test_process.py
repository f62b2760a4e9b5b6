"""Implicit process rewards, OREO, dueling Q-functions and reward shaping, with numbers worked out by hand."""

from __future__ import annotations

from math import exp, log

import torch

from espalier.losses import (
    conservative_backup,
    dueling,
    oreo,
    outcome_ce,
    recovered_rewards,
    token_rewards,
)
from espalier.losses.shaping import clip, delta


def test_outcome_cross_entropy_by_hand() -> None:
    loss = outcome_ce(torch.tensor([4.0, 4.0]), torch.tensor([1.0, 0.0]), beta=0.5)
    torch.testing.assert_close(loss, torch.tensor([log(1 + exp(-2)), log(1 + exp(2))]))


def test_token_rewards_add_up_to_the_outcome_reward() -> None:
    policy, reference = torch.tensor([-1.0, -0.5]), torch.tensor([-2.0, -0.25])
    assert token_rewards(policy, reference, beta=2.0).tolist() == [2.0, -0.5]


def test_oreo_by_hand() -> None:
    """Two steps and one that is not the policy's; reward 3 at the end, beta 2."""
    mask = torch.tensor([[True, False, True]])
    values = torch.tensor([[1.0, 99.0, 2.0]], requires_grad=True)
    ratios = torch.tensor([[0.5, 99.0, 1.0]], requires_grad=True)
    rewards = torch.tensor([[0.0, 99.0, 3.0]])
    value, policy = oreo(values, ratios, rewards, mask, beta=2.0)
    # Residuals: 1 - 3 + 2 * 1.5 = 1 at the first step, 2 - 3 + 2 * 1 = 1 at the last.
    assert value.tolist() == policy.tolist() == [[1.0, 0.0, 1.0]]
    value.sum().backward(retain_graph=True)
    assert values.grad.tolist() == [[2.0, 0.0, 2.0]]
    assert ratios.grad is None
    values.grad = None
    policy.sum().backward()
    assert values.grad is None
    assert ratios.grad.tolist() == [[4.0, 0.0, 4.0]]  # 2 * residual * beta, of each action's own log-ratio only


def test_oreo_of_a_consistent_policy_and_value_is_zero() -> None:
    ratios, rewards = torch.tensor([[0.3, -0.2]]), torch.tensor([[0.0, 1.0]])
    values = torch.tensor([[1 - 0.5 * 0.1, 1 + 0.5 * 0.2]])
    value, policy = oreo(values, ratios, rewards, torch.ones(1, 2, dtype=torch.bool), beta=0.5)
    torch.testing.assert_close(value + policy, torch.zeros(1, 2))


def test_the_maximum_of_a_dueling_q_is_the_value() -> None:
    q = dueling(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([0.5]), scale=0.1)
    torch.testing.assert_close(q, torch.tensor([[0.3, 0.5, 0.4]]))


def test_the_conservative_backup_asks_for_the_greedy_token_of_the_fixed_model_and_not_for_the_best() -> None:
    next_q = torch.tensor([[0.3, 0.5], [0.3, 0.5]], requires_grad=True)
    target = conservative_backup(
        torch.tensor([0.0, 1.0]), next_q, torch.tensor([0, 0]), ended=torch.tensor([0.0, 1.0]), gamma=0.9
    )
    torch.testing.assert_close(target, torch.tensor([0.27, 1.0]))
    assert not target.requires_grad


def test_recovered_rewards_invert_the_bellman_equation() -> None:
    rewards, values = torch.tensor([0.25, -1.0, 2.0]), torch.tensor([0.5, 0.125, 0.0])
    torch.testing.assert_close(recovered_rewards(rewards + 0.9 * values, values, gamma=0.9), rewards)


def test_clipped_process_rewards_never_pay() -> None:
    scores, mask = torch.tensor([[0.9, 0.2, 5.0]]), torch.tensor([[True, True, False]])
    torch.testing.assert_close(clip(scores, mask, 0.5), torch.tensor([[0.0, -0.3, 0.0]]))


def test_delta_rewards_add_up_to_the_score_of_the_first_step_however_many_there_are() -> None:
    scores = torch.tensor([[0.7, 0.9, 0.4, 0.3], [0.7, 0.2, 9.0, 9.0]])
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    found = delta(scores, mask)
    torch.testing.assert_close(found[0], torch.tensor([-0.2, 0.5, 0.4, 0.0]))
    torch.testing.assert_close(found[1], torch.tensor([0.7, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(found.sum(-1), scores[:, 0])
