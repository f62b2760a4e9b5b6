"""Closed forms against identities, brute force and simulation."""

import math

import pytest
import torch

from espalier.exact import (
    Language,
    Tabular,
    bandit,
    best_of_n,
    bradley_terry,
    continuous_win_rate,
    cyclic,
    entropy,
    expectation,
    exploitability,
    f_optimum,
    kl,
    kl_bound,
    log_partition,
    logistic_fit,
    nash,
    objective,
    random_preference,
    random_reward,
    regularised_gap,
    regularised_nash,
    soft_values,
    square_fit,
    tilted,
    total_variation,
    win_rate,
)

LANGUAGE = Language("ab", 3, prompts=("a", "b"))
REFERENCE = Tabular.random(LANGUAGE, seed=0)
LAW = REFERENCE().detach()
REWARD = random_reward(LANGUAGE, seed=1)


@pytest.mark.parametrize("end", [True, False])
def test_soft_values_rebuild_the_tilted_posterior(end):
    language = Language("abc", 3, end=end)
    reference, reward, beta = Tabular.random(language, 0), random_reward(language, 1), 0.3
    law, following = reference().detach(), reference.next_logprobs().detach()
    soft = soft_values(language, following, reward, beta)
    torch.testing.assert_close(soft.value[:, 0], beta * log_partition(law, reward, beta))
    rebuilt = language.string_logprobs(following + soft.advantage / beta)
    torch.testing.assert_close(rebuilt, tilted(law, reward, beta))
    torch.testing.assert_close(language.next_logprobs(tilted(law, reward, beta)), following + soft.advantage / beta)


def test_the_value_of_a_prefix_is_the_soft_mean_over_the_strings_below_it():
    soft = soft_values(LANGUAGE, REFERENCE.next_logprobs().detach(), REWARD, 0.5)
    prefix = LANGUAGE.texts.index("b")
    below = [i for i, text in enumerate(LANGUAGE.strings) if text.startswith("b")]
    given = LAW[:, below] - LAW[:, below].logsumexp(-1, keepdim=True)
    torch.testing.assert_close(soft.value[:, prefix], 0.5 * (given + REWARD[:, below] / 0.5).logsumexp(-1))


def test_an_infinite_penalty_gives_the_expected_reward():
    soft = soft_values(LANGUAGE, REFERENCE.next_logprobs().detach(), REWARD, torch.inf)
    torch.testing.assert_close(soft.value[:, 0], expectation(LAW, REWARD))
    nearly = soft_values(LANGUAGE, REFERENCE.next_logprobs().detach(), REWARD, 1e6)
    torch.testing.assert_close(nearly.value, soft.value, atol=1e-5, rtol=0)


def test_nothing_beats_the_tilted_posterior_and_its_objective_is_beta_log_z():
    best = objective(tilted(LAW, REWARD, 0.4), LAW, REWARD, 0.4)
    torch.testing.assert_close(best, 0.4 * log_partition(LAW, REWARD, 0.4))
    for seed in range(20):
        assert (objective(Tabular.random(LANGUAGE, seed)().detach(), LAW, REWARD, 0.4) < best).all()


def test_laws_of_two_strings_by_hand():
    even, skewed = torch.tensor([0.5, 0.5]).double().log(), torch.tensor([0.8, 0.2]).double().log()
    assert kl(skewed, even).item() == pytest.approx(0.8 * math.log(1.6) + 0.2 * math.log(0.4))
    assert entropy(even).item() == pytest.approx(math.log(2))
    assert total_variation(even, skewed).item() == pytest.approx(0.3)
    always = torch.tensor([[0.5, 1.0], [0.0, 0.5]]).double()
    assert win_rate(skewed, even, always).item() == pytest.approx(0.8 * 0.75 + 0.2 * 0.25)
    certain = torch.tensor([1.0, 0.0]).double().log()
    assert (kl(certain, even).item(), kl(even, certain).item()) == (pytest.approx(math.log(2)), math.inf)


@pytest.mark.parametrize("n", [1, 2, 5, 64, 1000])
def test_best_of_n_is_a_law_within_the_bound_and_wins_as_theory_says(n):
    best = best_of_n(LAW, REWARD, n)
    torch.testing.assert_close(best.logsumexp(-1), torch.zeros(2).double(), atol=1e-10, rtol=0)
    assert (kl(best, LAW) <= kl_bound(n) + 1e-12).all()
    fine = torch.full((1, 2000), 1 / 2000).double().log()
    ranks = torch.arange(2000).double()[None]
    wins = (ranks[..., :, None] > ranks[..., None, :]).double() + 0.5 * torch.eye(2000)
    if n <= 64:  # nearly continuous: 2000 equal arms
        assert win_rate(best_of_n(fine, ranks, n), fine, wins).item() == pytest.approx(continuous_win_rate(n), abs=1e-3)
        assert kl(best_of_n(fine, ranks, n), fine).item() == pytest.approx(kl_bound(n), abs=0.02)


def test_best_of_n_with_ties_matches_a_simulation():
    law = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).double()
    reward = torch.tensor([[2.0, 1.0, 1.0, 0.0]]).double()
    generator = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(law[0], 3 * 100_000, replacement=True, generator=generator).view(-1, 3)
    broken = reward[0, drawn] + 1e-6 * torch.rand(drawn.shape, generator=generator)
    picked = drawn.gather(1, broken.argmax(1, keepdim=True))[:, 0]
    simulated = torch.bincount(picked, minlength=4) / len(picked)
    torch.testing.assert_close(best_of_n(law.log(), reward, 3)[0].exp(), simulated.double(), atol=0.006, rtol=0)
    by_hand = 1 - 0.9**3, 0.4 * (0.9**3 - 0.4**3), 0.6 * (0.9**3 - 0.4**3), 0.4**3
    torch.testing.assert_close(best_of_n(law.log(), reward, 3)[0].exp(), torch.tensor(by_hand).double())


@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl", "js", "alpha"])
@pytest.mark.parametrize("beta", [0.01, 0.2, 2.0])
def test_under_any_divergence_reward_and_penalty_balance_on_every_string(divergence, beta):
    slope = {
        "reverse_kl": lambda u: u.log(),
        "forward_kl": lambda u: -1 / u,
        "js": lambda u: (2 * u / (1 + u)).log(),
        "alpha": lambda u: (1 - u**-0.5) / 0.5,
    }[divergence]
    best = f_optimum(LAW, REWARD, beta, divergence)
    torch.testing.assert_close(best.exp().sum(-1), torch.ones(2).double())
    balance = REWARD - beta * slope((best - LAW).exp())
    torch.testing.assert_close(balance, balance[:, :1].expand_as(balance), atol=1e-6, rtol=0)


def test_rock_paper_scissors_is_uniform_and_a_winner_takes_all():
    torch.testing.assert_close(nash(cyclic(3)).exp(), torch.full((1, 3), 1 / 3).double())
    torch.testing.assert_close(nash(cyclic(5, strength=0.4)).exp(), torch.full((1, 5), 1 / 5).double())
    reward = torch.tensor([[0.0, 3.0, 1.0]]).double()
    torch.testing.assert_close(nash(bradley_terry(reward)).exp(), torch.tensor([[0.0, 1.0, 0.0]]).double())
    with pytest.raises(ValueError, match="odd"):
        cyclic(4)


def test_an_unequal_cycle_has_its_equilibrium_by_hand():
    # a beats b by x, b beats c by y, c beats a by z: the equilibrium is (y, z, x) / (x + y + z).
    x, y, z = 0.4, 0.1, 0.2
    gain = torch.tensor([[0, x, -z], [-x, 0, y], [z, -y, 0]]).double()
    law = nash((0.5 + gain)[None])
    torch.testing.assert_close(law.exp()[0], torch.tensor([y, z, x]).double() / (x + y + z))
    assert exploitability(law, 0.5 + gain).abs().max() < 1e-9


@pytest.mark.parametrize("tau", [1.0, 0.1, 0.02])
def test_the_regularised_equilibrium_is_a_fixed_point_without_a_gap(tau):
    preference = random_preference(LANGUAGE, 2)
    law = regularised_nash(LAW, preference, tau)
    torch.testing.assert_close(law, tilted(LAW, (preference @ law.exp()[..., None])[..., 0], tau), atol=1e-8, rtol=0)
    assert regularised_gap(law, LAW, preference, tau).abs().max() < 1e-9
    assert (regularised_gap(LAW, LAW, preference, tau) > 1e-4).all()


def test_a_weak_penalty_comes_to_the_plain_equilibrium_and_a_strong_one_to_the_reference():
    arms = bandit(3)
    reference, preference = Tabular.random(arms, 4)().detach(), cyclic(3)
    assert total_variation(regularised_nash(reference, preference, 1e-3), nash(preference)).max() < 5e-3
    assert total_variation(regularised_nash(reference, preference, 1e3), reference).max() < 1e-3


def test_a_bradley_terry_fit_finds_the_reward_whatever_is_compared():
    weight = LAW.exp()[..., :, None] * LAW.exp()[..., None, :]
    found = logistic_fit(bradley_terry(REWARD), weight)
    torch.testing.assert_close(found, REWARD - REWARD.mean(-1, keepdim=True), atol=1e-8, rtol=0)
    other = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(logistic_fit(bradley_terry(REWARD), other), found, atol=1e-8, rtol=0)


def test_a_square_fit_to_independent_pairs_is_the_win_rate():
    preference = random_preference(LANGUAGE, 5)
    weight = LAW.exp()[..., :, None] * LAW.exp()[..., None, :]
    wins = (preference @ LAW.exp()[..., None])[..., 0]
    torch.testing.assert_close(square_fit(preference, weight), wins - wins.mean(-1, keepdim=True))
