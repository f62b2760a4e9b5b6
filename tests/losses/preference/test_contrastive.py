from __future__ import annotations

from math import log

import torch

from espalier.exact import Tabular, anneal, bandit, kl
from espalier.losses.preference import sami

D = torch.float64


def test_principles_that_change_nothing_cost_the_logarithm_of_their_number() -> None:
    same = torch.randn(3, 1, 1, dtype=D).expand(3, 4, 4)
    torch.testing.assert_close(sami(same), torch.full((3,), log(4), dtype=D))


def test_by_hand() -> None:
    """Rows give [2/3, 1/3] and [1/2, 1/2] to the two responses, columns [2/3, 1/3] and [1/2, 1/2]."""
    matrix = torch.tensor([[[2.0, 1.0], [1.0, 1.0]]], dtype=D).log()
    expected = (-(log(2 / 3) + log(1 / 2)) / 2 - (log(2 / 3) + log(1 / 2)) / 2) / 2
    torch.testing.assert_close(sami(matrix), torch.tensor([expected], dtype=D))


def test_less_loss_is_more_mutual_information() -> None:
    """Three principles (the bandit's prompts) and two arms, exactly averaged over all triples of responses."""
    language = bandit(3, prompts=3)
    policy = Tabular.random(language, seed=0, scale=0.1)
    triples = torch.cartesian_prod(*[torch.arange(3)] * 3)

    def loss() -> torch.Tensor:
        law = policy()
        weight = law[torch.arange(3), triples].sum(-1).exp().detach()
        return (weight * sami(law[:, triples].movedim(0, 1))).sum()

    def information() -> float:
        law = policy().detach()
        return float(kl(law, law.exp().mean(0).log().expand_as(law)).mean())

    before = information()
    anneal(policy, loss, steps=40, lr=0.2)
    assert information() > before + 0.5
