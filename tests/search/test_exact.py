"""On languages where everything is known: samplers reach the tilted posterior, searches the optimum."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from espalier.engines.base import Sampling
from espalier.exact import Language, Tabular, random_reward, soft_values, tilted
from espalier.exact.engine import ExactEngine
from espalier.exact.places import place
from espalier.exact.scorer import ExactScorer
from espalier.search import (
    MCTS,
    DiverseTreeSearch,
    ParallelTempering,
    ParticleFilter,
    ParticleGibbs,
    StepBeam,
    TokenBeam,
    TransferQ,
    TreeSampling,
    ValueGuided,
)
from espalier.search.potentials import difference, peak, total
from espalier.trees import Forest, Node, Tree

LANGUAGE = Language("ab", 3, prompts=tuple(map("".join, product("ab", repeat=3))))
REFERENCE = Tabular.random(LANGUAGE, 0, 0.5)
LAW = REFERENCE().detach()
REWARD = random_reward(LANGUAGE, 1)
STEP, STEPS = Sampling(max_tokens=4, seed=0), {"stop": ("a", "b"), "max_steps": 5}


FLAT = Sampling(max_tokens=4, seed=0, temperature=3.0)
"""Every step is drawn sooner or later."""


def problems() -> Forest:
    return Forest([Tree(Node(prompt, "prompt"), id=prompt) for prompt in LANGUAGE.prompts])


def noisy(seed: int) -> ExactScorer:
    """The reward at the ends, and any number before."""
    noise = torch.randn(8, LANGUAGE.prefixes, generator=torch.Generator().manual_seed(seed)).double() / 2
    return ExactScorer(LANGUAGE, "value", REWARD, noise)


def error(forest: Forest) -> float:
    """Root of the summed squared errors of the strings' probabilities, averaged in the square over the prompts."""
    law = np.zeros(tuple(LAW.shape))
    for leaf in forest.leaves():
        where = place(LANGUAGE, leaf)
        if where.string is not None:
            law[where.prompt, where.string] += leaf.meta.get("weight", 0.0)
    assert law.sum(1) == pytest.approx(1)
    return float(np.sqrt(((law - tilted(LAW, REWARD, 1.0).exp().numpy()) ** 2).sum(1).mean()))


@pytest.mark.parametrize(
    "make",
    [
        lambda n: ParticleFilter(n, STEP, potential=difference, **STEPS),
        lambda n: ParticleFilter(n, STEP, potential=peak, **STEPS),
        lambda n: ParticleFilter(n, STEP, potential=total, **STEPS),
        lambda n: ParticleGibbs(8, STEP, potential=difference, sweeps=n // 8, **STEPS),
        lambda n: ParallelTempering(8, STEP, potential=difference, sweeps=n // 8, **STEPS),
        lambda n: TreeSampling(n, STEP, widening=0.5, exponent=1.0, **STEPS),
    ],
    ids=["difference", "peak", "total", "gibbs", "tempering", "tree"],
)
def test_samplers_come_near_the_tilted_posterior_whatever_the_scores_on_the_way(make) -> None:
    """The slope itself, -1/2, is measured over more sizes and problems than a test has time for."""
    few, many = (error(make(n).search(problems(), ExactEngine(REFERENCE), noisy(2)).forest) for n in (16, 128))
    assert many < 0.6 * few  # 0.35, but for luck
    assert many < 0.25


def test_with_the_exact_soft_values_guided_decoding_samples_the_optimum() -> None:
    beta = 0.7
    soft = soft_values(LANGUAGE, REFERENCE.next_logprobs().detach(), REWARD, beta)
    scorer = ExactScorer(LANGUAGE, "value", REWARD, soft.value)
    sampling = Sampling(max_tokens=3, seed=3)
    forest = ValueGuided(150, beta, sampling=sampling).search(problems(), ExactEngine(REFERENCE), scorer).forest
    law = tilted(LAW, REWARD, beta).exp().numpy()
    for number, tree in enumerate(forest):
        strings = [place(LANGUAGE, leaf).string for leaf in tree.leaves()]
        share = np.bincount(strings, minlength=law.shape[1]) / len(strings)
        assert np.abs(share - law[number]).max() < 4.5 * np.sqrt(0.25 / 150)


def best_below() -> tuple[torch.Tensor, torch.Tensor]:
    """A reward whose best string ends by itself, and of each prefix the best reward that it can come to."""
    reward = REWARD.clone()
    reward[:, LANGUAGE.prefixes :] = reward.min(1, keepdim=True).values  # strings of full length
    texts, values = LANGUAGE.texts, torch.zeros(8, LANGUAGE.prefixes).double()
    for text in range(LANGUAGE.prefixes):
        below = [string for string, said in enumerate(LANGUAGE.strings) if said.startswith(texts[text])]
        values[:, text] = reward[:, below].max(1).values
    return reward, values


@pytest.mark.parametrize(
    "strategy",
    [
        MCTS(80, 24, FLAT, exploration=4.0, **STEPS),  # in units of the reward, whose range is about 4
        MCTS(80, 24, FLAT, exploration=4.0, rollout_share=0.3, **STEPS),
        StepBeam(1, 24, FLAT, **STEPS),
        DiverseTreeSearch(1, 24, FLAT, **STEPS),
        TreeSampling(100, FLAT, 0.1, greedy=True, explore=3.0, **STEPS),
        TokenBeam(1, 3, value_weight=1.0),
        ValueGuided(1, 0.01, sampling=Sampling(max_tokens=3, temperature=0.0)),
    ],
    ids=lambda strategy: strategy.name,
)
def test_with_the_exact_value_searches_find_the_optimum(strategy) -> None:
    reward, values = best_below()
    scorer = ExactScorer(LANGUAGE, "value", reward, values)
    found = strategy.search(problems(), ExactEngine(REFERENCE), scorer)
    strings = [place(LANGUAGE, answer).string for answer in found.answers]
    assert strings == reward.argmax(1).tolist()


def test_a_beam_by_likelihood_as_wide_as_the_language_finds_the_likeliest_string() -> None:
    found = TokenBeam(16, 3).search(problems(), ExactEngine(REFERENCE))
    assert [place(LANGUAGE, answer).string for answer in found.answers] == LAW.argmax(1).tolist()


def test_transfer_q_takes_its_values_from_the_aligned_policy() -> None:
    beta = 0.3
    aligned = ExactEngine(Tabular.of(LANGUAGE, tilted(LAW, REWARD, beta)))
    sampling, engine = Sampling(max_tokens=3, seed=5), ExactEngine(REFERENCE)
    decoder = TransferQ(8, 0.3, sampling=sampling, baseline=aligned, rollouts=4)
    own = TransferQ(8, 0.3, sampling=sampling, rollouts=4)
    rewards = []
    for strategy in (decoder, own):
        found = strategy.search(problems(), engine, ExactScorer(LANGUAGE, "value", REWARD))
        rewards.append(np.mean([leaf.value("value") for leaf in found.forest.leaves()]))
    assert rewards[0] > rewards[1] > float((LAW.exp() * REWARD).sum(1).mean())
    assert aligned.spent.generated > 0
    spent = decoder.search(problems(), engine, ExactScorer(LANGUAGE, "value", REWARD))
    assert sum(each.generated for each in spent.ledgers) == spent.ledger.generated  # the baseline's tokens included
