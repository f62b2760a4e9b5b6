"""Selection by n-grams: importance resampling is a sample of the right law, the gain learner learns gains."""

import numpy as np
import pytest
import torch

from espalier.curation import (
    GainLearner,
    above_gain,
    dsir,
    falling,
    gumbel_top_k,
    hashed_ngrams,
    information_gains,
    kl_reduction,
    log_weights,
)
from espalier.trees import Forest, Node, Tree


def forest(*texts: str) -> Forest:
    trees = []
    for number, text in enumerate(texts):
        trees.append(Tree(Node("", "prompt"), id=str(number)))
        trees[-1].root.add(Node(text, "human"))
    return Forest(trees)


def test_ngrams_are_counted_the_same_everywhere_and_in_order():
    one, two = hashed_ngrams(["to be or not to be", "be to not or be to"], buckets=5000)
    assert one.sum() == two.sum() == 6 + 5
    assert (one != two).any()
    assert (hashed_ngrams(["to be or not to be"], 5000, bigrams=False).max(), one.max()) == (2, 2)


def test_weights_are_likelihood_ratios_of_bags():
    raw = np.array([[3, 0], [0, 1]])
    target = np.array([[1, 3]])
    assert log_weights(raw, target, smoothing=0) == pytest.approx([3 * np.log(0.25 / 0.75), np.log(0.75 / 0.25)])
    assert kl_reduction(raw[1:], raw, target, smoothing=1e-9) < kl_reduction(raw, raw, target) + 1e-6


def test_gumbel_top_k_draws_in_proportion_to_the_weights():
    rng, law = np.random.default_rng(0), np.array([0.5, 0.3, 0.2])
    first = [gumbel_top_k(np.log(law), 2, rng)[0] for _ in range(4000)]
    assert np.bincount(first) / 4000 == pytest.approx(law, abs=0.03)


def test_dsir_selects_what_is_like_the_target_and_repeats_itself():
    raw = forest(*["the cat sat on the mat"] * 20, *["stock prices fell by two percent"] * 20)
    target = forest("a cat on a mat", "the cat sat")
    kept = dsir(raw, target, keep=10, seed=1)
    assert len(kept) == 10
    assert all("cat" in tree.leaves()[0].text for tree in kept)
    assert [tree.id for tree in dsir(raw, target, keep=10, seed=1)] == [tree.id for tree in kept]
    counts = [hashed_ngrams([tree.leaves()[0].text for tree in trees]) for trees in (raw, target)]
    assert kept[0].meta["curation"]["dsir"] == pytest.approx(log_weights(counts[0], counts[1])[0])


def test_gains_are_drops_of_the_objective_and_the_model_is_left_alone():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, 1.0)

    def loss(goal: float) -> torch.Tensor:
        return (model.weight - goal).square().sum()

    gains = information_gains(model, [lambda: loss(3.0), lambda: loss(-1.0)], lambda: loss(2.0), lr=0.1)
    # One step goes to 1.4 or to 0.6; the objective (w - 2)^2 was 1.
    assert gains == pytest.approx([1 - 0.36, 1 - 1.96], abs=1e-6)
    assert model.weight.item() == 1.0


def test_the_learner_foretells_gains_of_new_texts_and_the_threshold_falls():
    texts = [f"good {i}" for i in range(10)] + [f"bad {i}" for i in range(10)]
    learner = GainLearner(hashed_ngrams(texts, 1000), np.repeat([0.02, -0.01], 10))
    kept = above_gain(forest("good news", "bad news"), learner, threshold=0.5)
    assert [tree.leaves()[0].text for tree in kept] == ["good news"]
    assert [falling(step, 10) for step in (0, 5, 10, 20)] == [1.0, 0.0, -1.0, -1.0]
    with pytest.raises(ValueError, match="all the same"):
        GainLearner(np.eye(3), np.ones(3))
