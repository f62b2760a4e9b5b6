"""Every loss, on a bigram language model and responses of different lengths, whatever the cut into micro-batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from espalier.losses import (
    Support,
    Term,
    Unit,
    bce,
    bradley_terry,
    clipped_mse,
    coverage,
    cross_entropy,
    dpo,
    dueling,
    gae,
    group,
    hl_gauss,
    k2,
    k3,
    kl,
    leave_one_out,
    mse,
    nll,
    oreo,
    outcome_ce,
    ppo_clip,
    reinforce,
    two_hot,
)

from .split_invariance import assert_split_invariant

VOCABULARY, ROWS = 7, 12


class Bigram:
    """Twelve responses of 1 to 9 tokens, the tables of the policy and of a value head, and frozen old tables."""

    def __init__(self, seed: int = 0) -> None:
        g = torch.Generator().manual_seed(seed)
        self.policy = torch.randn(VOCABULARY, VOCABULARY, generator=g).requires_grad_()
        self.values = torch.randn(VOCABULARY, generator=g).requires_grad_()
        self.reference = self.policy.detach() + 0.3 * torch.randn(VOCABULARY, VOCABULARY, generator=g)
        self.old_values = self.values.detach() + 0.3 * torch.randn(VOCABULARY, generator=g)
        lengths = torch.randint(1, 10, (ROWS,), generator=g)
        self.mask = torch.arange(9) < lengths[:, None]
        self.previous = torch.randint(VOCABULARY, (ROWS, 9), generator=g)
        self.tokens = torch.randint(VOCABULARY, (ROWS, 9), generator=g)
        self.rewards = torch.rand(ROWS, generator=g)
        self.known = torch.arange(ROWS) != 5  # one verifier failed
        self.groups = torch.arange(ROWS) // 4

    def logprobs(self, table: Tensor, rows: Tensor) -> Tensor:
        """Of every token of the rows, end to end: the ragged layout."""
        steps = table.log_softmax(-1)[self.previous[rows], self.tokens[rows]]
        return steps[self.mask[rows]]

    def sums(self, table: Tensor, rows: Tensor) -> Tensor:
        """Of whole responses."""
        steps = table.log_softmax(-1)[self.previous[rows], self.tokens[rows]]
        return (steps * self.mask[rows]).sum(-1)

    def states(self, rows: Tensor) -> Tensor:
        return self.previous[rows][self.mask[rows]]

    def on_tokens(self, rows: Tensor, per_row: Tensor) -> Tensor:
        return per_row[rows][:, None].expand(-1, 9)[self.mask[rows]]


World = Bigram


def supervised(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "token", nll(m.logprobs(m.policy, rows))


def best_of_eight(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "response", coverage(m.sums(m.policy, rows), 8)


def value_bce(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "token", bce(m.values[m.states(rows)], m.on_tokens(rows, m.rewards))


def value_mse(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "token", mse(m.values[m.states(rows)], m.on_tokens(rows, m.rewards))


def value_clipped(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    states = m.states(rows)
    return "token", clipped_mse(m.values[states], m.old_values[states], m.on_tokens(rows, m.rewards), clip=0.2)


def value_two_hot(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    support = Support(0.0, 1.0, VOCABULARY)  # a state's row of the policy's table serves as its bins
    return "token", cross_entropy(m.policy[m.states(rows)], two_hot(m.on_tokens(rows, m.rewards), support))


def value_hl_gauss(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    support = Support(-0.2, 1.2, VOCABULARY)
    return "token", cross_entropy(m.policy[m.states(rows)], hl_gauss(m.on_tokens(rows, m.rewards), support))


def value_dueling(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    states = m.states(rows)
    q = dueling(m.policy[states], m.values[states], scale=0.1)
    return "token", mse(q[torch.arange(len(states)), m.tokens[rows][m.mask[rows]]], m.on_tokens(rows, m.rewards))


def implicit(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "response", outcome_ce(m.sums(m.policy, rows) - m.sums(m.reference, rows), m.rewards[rows], beta=0.1)


def offline_consistency(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    mask, previous, tokens = m.mask[rows], m.previous[rows], m.tokens[rows]
    ratios = (m.policy.log_softmax(-1) - m.reference.log_softmax(-1))[previous, tokens]
    rewards = torch.zeros(len(rows), 9)
    rewards[torch.arange(len(rows)), mask.sum(-1) - 1] = m.rewards[rows]
    value, policy = oreo(m.values[previous], ratios, rewards, mask, beta=0.5)
    return "token", (value + policy)[mask]


def ppo(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    """Advantages come from the whole rollout, before the cut."""
    rewards = torch.zeros(ROWS, 9)
    rewards[torch.arange(ROWS), m.mask.sum(-1) - 1] = m.rewards
    advantages = gae(rewards, m.old_values[m.previous], m.mask).advantages
    return "token", ppo_clip(
        m.logprobs(m.policy, rows), m.logprobs(m.reference, rows), advantages[rows][m.mask[rows]], 0.2, 0.28
    )


def grpo(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    advantages, _ = group(m.rewards, m.groups, m.known)
    return "token", ppo_clip(m.logprobs(m.policy, rows), m.logprobs(m.reference, rows), m.on_tokens(rows, advantages))


def rloo(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    advantages, _ = leave_one_out(m.rewards, m.groups, m.known)
    return "response", reinforce(m.sums(m.policy, rows), advantages[rows])


def preference(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    ratio = m.sums(m.policy, rows) - m.sums(m.reference, rows)
    other = (rows + 1) % ROWS
    return "pair", dpo(ratio, m.sums(m.policy, other) - m.sums(m.reference, other), beta=0.1, smoothing=0.1)


def reward(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    last = m.previous[torch.arange(ROWS), m.mask.sum(-1) - 1]
    return "pair", bradley_terry(m.values[last[rows]], m.values[last[(rows + 1) % ROWS]], margin=0.1)


def penalty_k2(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "token", k2(m.logprobs(m.policy, rows), m.logprobs(m.reference, rows))


def penalty_k3(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    return "token", k3(m.logprobs(m.policy, rows), m.logprobs(m.reference, rows))


def penalty_exact(m: World, rows: Tensor) -> tuple[Unit, Tensor]:
    states = m.states(rows)
    return "token", kl(m.policy[states], m.reference[states])


EVERY = [
    supervised,
    best_of_eight,
    value_bce,
    value_mse,
    value_clipped,
    value_two_hot,
    value_hl_gauss,
    value_dueling,
    implicit,
    offline_consistency,
    ppo,
    grpo,
    rloo,
    preference,
    reward,
    penalty_k2,
    penalty_k3,
    penalty_exact,
]


@pytest.mark.parametrize("loss", EVERY)
def test_gradient_does_not_depend_on_the_cut(loss: Callable[[World, Tensor], tuple[Unit, Tensor]]) -> None:
    model = Bigram()
    parameters = [model.policy, model.values]

    def terms(rows: Tensor) -> tuple[dict[str, Term], dict[Unit, Tensor]]:
        unit, values = loss(model, rows)
        weight = m_known(rows) if unit == "response" else torch.ones(len(values))
        return {"loss": Term(values, unit)}, {unit: weight}

    def m_known(rows: Tensor) -> Tensor:
        return model.known[rows].float()

    assert_split_invariant(terms, parameters, ROWS)


def test_two_terms_of_different_units_share_a_step() -> None:
    model = Bigram()

    def terms(rows: Tensor) -> tuple[dict[str, Term], dict[Unit, Tensor]]:
        _, pairs = preference(model, rows)
        _, tokens = supervised(model, rows)
        weights: dict[Unit, Tensor] = {"pair": torch.ones(len(pairs)), "token": m_weight(rows)}
        return {"dpo": Term(pairs, "pair"), "sft": Term(tokens, "token", scale=0.5)}, weights

    def m_weight(rows: Tensor) -> Tensor:
        return 1.0 / model.on_tokens(rows, model.mask.sum(-1).float())  # each response counts the same

    assert_split_invariant(terms, [model.policy], ROWS)


def test_the_test_catches_a_loss_that_reduces_by_itself() -> None:
    model = Bigram()

    def terms(rows: Tensor) -> tuple[dict[str, Term], dict[Unit, Tensor]]:
        _, values = supervised(model, rows)
        return {"loss": Term(values.mean()[None], "response")}, {"response": torch.ones(1)}

    with pytest.raises(AssertionError, match="pieces"):
        assert_split_invariant(terms, [model.policy], ROWS)


def test_the_test_refuses_a_loss_without_gradient() -> None:
    model = Bigram()

    def terms(rows: Tensor) -> tuple[dict[str, Term], dict[Unit, Tensor]]:
        values = 0 * m_values(rows)
        return {"loss": Term(values, "token")}, {"token": torch.ones(len(values))}

    def m_values(rows: Tensor) -> Tensor:
        return supervised(model, rows)[1]

    with pytest.raises(AssertionError, match="no gradient"):
        assert_split_invariant(terms, [model.policy], ROWS)
