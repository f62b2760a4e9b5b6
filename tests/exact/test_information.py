from __future__ import annotations

import torch

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    descend,
    differential_information,
    rejected_law,
    tilted,
    total_variation,
)
from espalier.losses.preference import dpo


def test_pairs_of_the_reference_and_of_the_rejected_law_teach_dpo_the_target() -> None:
    language, beta = Language("ab", length=2), 0.7
    reference, target = Tabular.random(language, 0)().detach(), Tabular.random(language, 1)().detach()
    rejected = rejected_law(reference, target, beta)
    assert torch.allclose(rejected.exp().sum(-1), torch.ones(1, dtype=rejected.dtype))
    drawn = reference.exp()[..., :, None] * rejected.exp()[..., None, :]
    pairs = Pairs.all(reference, drawn / (drawn + drawn.mT), other=rejected)
    policy = Tabular.of(language, reference)
    descend(policy, lambda: pairs.mean(dpo(*pairs.split(policy() - reference), beta)))
    assert total_variation(policy().detach(), target).max() < 1e-6


def test_the_information_takes_the_reference_to_the_target() -> None:
    language = Language("ab", length=2)
    reference, target = Tabular.random(language, 0)().detach(), Tabular.random(language, 1)().detach()
    information = differential_information(reference, target)
    assert total_variation(tilted(reference, information, beta=1.0), target).max() < 1e-12
    assert torch.allclose(information.logsumexp(-1), torch.zeros(1, dtype=information.dtype), atol=1e-12)
