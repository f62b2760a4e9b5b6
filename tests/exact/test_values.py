"""Value learners reach the exact value function, and implicit process rewards are the exact soft advantages."""

import pytest
import torch
from torch import nn

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    anneal,
    bradley_terry,
    descend,
    random_reward,
    soft_values,
    tilted,
    total_variation,
)
from espalier.losses import (
    Support,
    bce,
    conservative_backup,
    cross_entropy,
    dpo,
    dueling,
    expected_value,
    gae,
    hl_gauss,
    mse,
    oreo,
    outcome_ce,
    project,
    two_hot,
)

LANGUAGE = Language("ab", 3, prompts=("a", "b"))
BEFORE, TOKEN, THERE = LANGUAGE.paths
STRINGS, PROMPTS = len(LANGUAGE.strings), len(LANGUAGE.prompts)
SUPPORT = Support.around(0, 1, 17)
BETA = 0.5
SEEDS = pytest.mark.parametrize("seed", [0, 1])


class Table(nn.Module):
    """A row of numbers for each prefix."""

    def __init__(self, width=1):
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(PROMPTS, LANGUAGE.prefixes, width).double())

    def on_paths(self):
        """The row before each token of each string."""
        return self.rows[:, BEFORE]


def problem(seed):
    """A policy, outcomes in [0, 1], and its value function, by backward induction."""
    policy, outcome = Tabular.random(LANGUAGE, seed), random_reward(LANGUAGE, seed + 100).sigmoid()
    following = policy.next_logprobs().detach()
    return policy().detach(), following, outcome, soft_values(LANGUAGE, following, outcome, torch.inf).value


def expected(law, losses):
    """The mean over the policy's strings of what is paid at each of their tokens."""
    return (law.exp()[..., None] * torch.where(THERE, losses, 0.0)).sum()


def everywhere(outcome):
    return outcome[..., None].expand(PROMPTS, STRINGS, LANGUAGE.length)


@pytest.mark.parametrize("name", ["mse", "bce", "two_hot", "hl_gauss"])
def test_outcome_supervision_reaches_the_value_function(name):
    law, _, outcome, value = problem(0)
    table = Table(SUPPORT.bins if name in ("two_hot", "hl_gauss") else 1)
    loss = {
        "mse": lambda rows: mse(rows[..., 0], everywhere(outcome)),
        "bce": lambda rows: bce(rows[..., 0], everywhere(outcome)),
        "two_hot": lambda rows: cross_entropy(rows, two_hot(everywhere(outcome), SUPPORT)),
        "hl_gauss": lambda rows: cross_entropy(rows, hl_gauss(everywhere(outcome), SUPPORT)),
    }[name]
    descend(table, lambda: expected(law, loss(table.on_paths())))
    rows = table.rows.detach()
    read = {"mse": rows[..., 0], "bce": rows[..., 0].sigmoid()}
    found = read[name] if name in read else expected_value(rows, SUPPORT)
    torch.testing.assert_close(found, value, atol=1e-3, rtol=0)


def test_c51_reaches_the_value_function_from_its_own_predictions():
    """The target at a token is the prediction at the next; the outcome is seen only at the end."""
    law, _, outcome, value = problem(1)
    table, last = Table(SUPPORT.bins), THERE & ~nn.functional.pad(THERE[:, 1:], (0, 1))
    for _ in range(LANGUAGE.length):  # a Bellman update carries the outcome one token back
        with torch.no_grad():
            ahead = nn.functional.pad(table.on_paths().softmax(-1), (0, 0, 0, 1))[:, :, 1:]
            bootstrapped = project(ahead, torch.zeros(PROMPTS, STRINGS, LANGUAGE.length).double(), 1.0, SUPPORT)
            target = torch.where(last[..., None], two_hot(everywhere(outcome), SUPPORT), bootstrapped)
        descend(table, lambda: expected(law, cross_entropy(table.on_paths(), target)))  # noqa: B023
    torch.testing.assert_close(expected_value(table.rows.detach(), SUPPORT), value, atol=1e-3, rtol=0)


@SEEDS
@pytest.mark.parametrize("lam", [1.0, 0.95, 0.0])
def test_a_critic_on_gae_returns_reaches_the_value_function(seed, lam):
    law, _, outcome, value = problem(seed)
    table, lengths = Table(), THERE.sum(-1)
    rewards = torch.zeros(PROMPTS, STRINGS, LANGUAGE.length).double()
    rewards[:, torch.arange(STRINGS), lengths - 1] = outcome
    mask = THERE.repeat(PROMPTS, 1)
    for _ in range(1 if lam == 1 else 12):
        returns = gae(rewards.flatten(0, 1), table.on_paths()[..., 0].flatten(0, 1), mask, lam=lam).returns
        descend(table, lambda: expected(law, mse(table.on_paths()[..., 0], returns.view_as(rewards))))  # noqa: B023
    torch.testing.assert_close(table.rows.detach()[..., 0], value, atol=1e-3, rtol=0)


@SEEDS
def test_a_dueling_q_with_the_conservative_backup_reaches_the_q_of_the_greedy_pretrained_policy(seed):
    _, following, outcome, _ = problem(seed)
    greedy = following.argmax(-1)
    certain = torch.where(nn.functional.one_hot(greedy, LANGUAGE.tokens) > 0, 0.0, -torch.inf).double()
    goal = soft_values(LANGUAGE, certain, outcome, torch.inf)
    logits, values = Table(LANGUAGE.tokens), Table()
    both = nn.ModuleList([logits, values])

    def q():
        return dueling(logits.rows, values.rows[..., 0])

    children = torch.arange(LANGUAGE.prefixes)[:, None] * 2 + 1 + torch.arange(2)  # the texts after each symbol
    full = children >= LANGUAGE.prefixes
    end = children - LANGUAGE.first
    for _ in range(LANGUAGE.length):
        after = children.clamp(max=LANGUAGE.prefixes - 1)
        rewards = torch.cat([torch.where(full, outcome[:, end], 0.0), outcome[:, : LANGUAGE.prefixes, None]], -1)
        ended = torch.cat([full, torch.ones(LANGUAGE.prefixes, 1, dtype=torch.bool)], -1).double()
        pad = torch.zeros(PROMPTS, LANGUAGE.prefixes, 1, dtype=torch.long)
        next_q = torch.cat([q()[:, after], torch.zeros(PROMPTS, LANGUAGE.prefixes, 1, LANGUAGE.tokens)], 2)
        next_greedy = torch.cat([greedy[:, after], pad], 2)
        target = conservative_backup(rewards, next_q, next_greedy, ended.expand_as(rewards))
        descend(both, lambda: mse(q(), target).sum())  # noqa: B023
    torch.testing.assert_close(q().detach(), goal.q, atol=1e-3, rtol=0)


@SEEDS
def test_oreo_reaches_the_tilted_policy_and_the_soft_value_from_anybodys_strings(seed):
    reference, reward = Tabular.random(LANGUAGE, seed), random_reward(LANGUAGE, seed + 100)
    following, writer = reference.next_logprobs().detach(), Tabular.random(LANGUAGE, seed + 200, scale=0.5)().detach()
    policy, value = Tabular.of(LANGUAGE, reference().detach()), Table()
    rewards = torch.zeros(PROMPTS, STRINGS, LANGUAGE.length).double()
    rewards[:, torch.arange(STRINGS), THERE.sum(-1) - 1] = reward
    mask = THERE.repeat(PROMPTS, 1)

    def loss():
        ratios = policy.token_logprobs() - LANGUAGE.token_logprobs(following)
        found = oreo(value.on_paths()[..., 0].flatten(0, 1), ratios.flatten(0, 1), rewards.flatten(0, 1), mask, BETA)
        return (writer.exp().flatten()[:, None] * (found.value + found.policy)).sum()

    anneal(nn.ModuleList([policy, value]), loss, steps=600, lr=0.1)
    assert total_variation(policy().detach(), tilted(reference().detach(), reward, BETA)).max() < 1e-3
    exact = soft_values(LANGUAGE, following, reward, BETA).value
    torch.testing.assert_close(value.rows.detach()[..., 0], exact, atol=1e-3, rtol=0)


def advantages_on_strings(following, reward):
    """The exact soft advantage of each token of each string."""
    exact = soft_values(LANGUAGE, following, reward, BETA).advantage
    return torch.where(THERE, exact[:, BEFORE, TOKEN], 0.0)


@SEEDS
def test_implicit_process_rewards_of_pairs_are_the_soft_advantages(seed):
    reference, reward = Tabular.random(LANGUAGE, seed), random_reward(LANGUAGE, seed + 100)
    law, policy = reference().detach(), Tabular.of(LANGUAGE, reference().detach())
    pairs = Pairs.all(law, bradley_terry(reward))
    descend(policy, lambda: pairs.mean(dpo(*pairs.split(policy() - law), BETA)))
    rewards = BETA * (policy.token_logprobs() - reference.token_logprobs()).detach()
    goal = advantages_on_strings(reference.next_logprobs().detach(), reward)
    torch.testing.assert_close(rewards, goal, atol=1e-3, rtol=0)


@SEEDS
def test_implicit_process_rewards_of_single_labels_are_the_soft_advantages(seed):
    """With log-odds of success that log-ratios can express: E_reference[exp(log-odds / beta)] = 1."""
    reference, odds = Tabular.random(LANGUAGE, seed), random_reward(LANGUAGE, seed + 100)
    law, policy = reference().detach(), Tabular.of(LANGUAGE, reference().detach())
    odds = odds - BETA * (law + odds / BETA).logsumexp(-1, keepdim=True)
    descend(
        policy,
        lambda: (law.exp() * outcome_ce((policy() - law).flatten(), odds.sigmoid().flatten(), BETA).view_as(law)).sum(),
    )
    rewards = BETA * (policy.token_logprobs() - reference.token_logprobs()).detach()
    torch.testing.assert_close(
        rewards, advantages_on_strings(reference.next_logprobs().detach(), odds), atol=1e-3, rtol=0
    )


def test_single_labels_that_log_ratios_cannot_express_are_fitted_as_well_as_can_be():
    """All strings succeed surely more often than not, but no policy is likelier than the reference everywhere."""
    reference = Tabular.random(LANGUAGE, 0)
    law, policy = reference().detach(), Tabular.of(LANGUAGE, reference().detach())
    right = torch.full_like(law, 0.9)
    descend(policy, lambda: (law.exp() * outcome_ce(policy() - law, right, BETA)).sum())
    torch.testing.assert_close(policy().detach(), law, atol=1e-3, rtol=0)
