from __future__ import annotations

from math import exp, log

import pytest
import torch

from espalier.losses.preference import core

D = torch.float64


def test_links_by_hand() -> None:
    m = torch.tensor([-1.0, 0.0, 2.0], dtype=D)
    expected = {
        core.logistic: [log(1 + exp(1)), log(2), log(1 + exp(-2))],
        core.hinge: [2.0, 1.0, 0.0],
        core.exponential: [exp(1), 1.0, exp(-2)],
    }
    for link, values in expected.items():
        torch.testing.assert_close(link(m), torch.tensor(values, dtype=D))
    torch.testing.assert_close(core.squared(m, 2.0), torch.tensor([9.0, 4.0, 0.0], dtype=D))
    torch.testing.assert_close(core.hinge(m, at=0.5), torch.tensor([1.5, 0.5, 0.0], dtype=D))


@pytest.mark.parametrize("link", [core.logistic, core.hinge, core.exponential, lambda m: core.squared(m, 1.0)])
def test_the_unbiased_label_takes_noise_out_of_the_mean(link: core.Link) -> None:
    """Flip the labels with the noise that was assumed: on average the loss is that of clean labels, for every link."""
    m, noise = torch.linspace(-3, 3, 7, dtype=D), 0.2
    robust = lambda margin: core.labelled(link, margin, core.unbiased(noise))  # noqa: E731
    torch.testing.assert_close((1 - noise) * robust(m) + noise * robust(-m), link(m))


def test_more_noise_than_signal_is_refused() -> None:
    for noise in (0.5, -0.1):
        with pytest.raises(ValueError, match="flipped labels"):
            core.unbiased(noise)


@pytest.mark.parametrize(
    ("divergence", "f"),
    [
        (core.reverse_kl, lambda u: u * u.log()),
        (core.forward_kl, lambda u: -u.log()),
        (core.jensen_shannon, lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log()),
        (core.alpha_divergence(0.4), lambda u: (u**0.6 - 0.6 * u - 0.4) / (0.4 * -0.6)),
    ],
    ids=["reverse", "forward", "js", "alpha"],
)
def test_a_divergence_is_the_derivative_of_its_generator(divergence: core.Divergence, f: core.Link) -> None:
    u = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=D, requires_grad=True)
    (slope,) = torch.autograd.grad(f(u).sum(), u)
    torch.testing.assert_close(divergence(u.detach().log()), slope - slope[2])


def test_alpha_goes_from_the_reverse_to_the_forward_kl() -> None:
    logratio = torch.tensor([-2.0, 0.3, 1.0], dtype=D)
    torch.testing.assert_close(core.alpha_divergence(1e-9)(logratio), core.reverse_kl(logratio))
    torch.testing.assert_close(core.alpha_divergence(0.0)(logratio), core.reverse_kl(logratio))
    torch.testing.assert_close(core.alpha_divergence(1.0)(logratio), core.forward_kl(logratio))


def test_log_odds_are_finite_at_certainty() -> None:
    p = torch.tensor([1e-30, 0.2, 0.5, 0.999], dtype=D)
    torch.testing.assert_close(core.log_odds(p.log()), torch.logit(p))
    certain = torch.zeros(1, requires_grad=True)
    core.log_odds(certain).sum().backward()
    assert certain.grad is not None
    assert torch.isfinite(core.log_odds(certain)).all()
    assert torch.isfinite(certain.grad).all()


def test_tokens_become_responses() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [8.0, torch.nan, torch.nan], [torch.nan] * 3])
    mask = torch.tensor([[True, True, True], [True, False, False], [False] * 3])
    assert core.total(values, mask).tolist() == [7.0, 8.0, 0.0]
    torch.testing.assert_close(core.average(values, mask), torch.tensor([7 / 3, 8.0, 0.0]))
    assert core.length_desensitised(values, mask, torch.tensor([1, 1, 0]), 0.5).tolist() == [4.0, 8.0, 0.0]


def test_length_desensitised_counts_the_responses_own_tokens() -> None:
    """Tokens before the response (not masked) do not use up the shared length."""
    values, mask = torch.tensor([[9.0, 1.0, 2.0]]), torch.tensor([[False, True, True]])
    assert core.length_desensitised(values, mask, torch.tensor([1]), 0.0).tolist() == [1.0]


def test_score_function_has_the_gradient_of_the_mean() -> None:
    """Summed over all answers, each with its probability, it is the gradient of the expectation."""
    logits = torch.tensor([0.3, -1.0, 0.5], dtype=D, requires_grad=True)
    values, logprob = torch.tensor([1.0, 5.0, -2.0], dtype=D), logits.log_softmax(0)
    estimate = (logprob.detach().exp() * core.score_function(values, logprob)).sum()
    exact = (logprob.exp() * values).sum()
    torch.testing.assert_close(estimate, exact)
    (found,) = torch.autograd.grad(estimate, logits, retain_graph=True)
    (expected,) = torch.autograd.grad(exact, logits)
    torch.testing.assert_close(found, expected)
