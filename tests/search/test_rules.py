"""Small rules by hand: votes by rank, stopping, what MCTS backs up, what self-certainty is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from espalier.audit.at_k import pass_curve
from espalier.engines.base import Sampling
from espalier.errors import AuditError, ConfigError
from espalier.exact import Language, Neural, tokenizer
from espalier.models import from_config
from espalier.scorers import Entropy, FormatMatch, Likelihood, SelfCertainty
from espalier.search import (
    MCTS,
    Adaptive,
    Certain,
    MirrorDescentSearch,
    SelfRefine,
    Settled,
    StepBeam,
    TemperatureHead,
    TransferQ,
    ValueGuided,
    borda,
    fading,
    fit_temperature,
    latent_pairs,
    majority,
)
from espalier.search.mcts import Stats
from espalier.trees import Forest, Node, Score, Tree
from tests.tiny import config

from .language import CharEngine, TextScorer, best_reachable, digits, last, problems, three_steps


def leaves(*scored: tuple[str, float]) -> list[Node]:
    root = Node("?", "prompt")
    return [root.add(Node(text, stop="eos", scores={"value": Score(value)})) for text, value in scored]


def test_borda_goes_from_the_majority_to_the_best_as_its_power_grows() -> None:
    # Votes at power p: "7" has 4^p, "5" has 3^p + 2^p + 1.
    found = leaves(("5", 0.3), ("7", 0.9), ("5", 0.2), ("5", 0.1))
    answers = [borda(found, str, "value", power).text for power in (0.0, 1.0, 2.0)]
    assert answers == [majority(found, str).text, "5", "7"]


def test_sampling_stops_when_the_answer_is_settled() -> None:
    sure = CharEngine(lambda text: {"": 1.0} if text[-1].isdigit() else {"7": 1.0})
    found = Adaptive(40, 2, Sampling(max_tokens=2), extract=last).search(problems(3), sure)
    assert [len(tree.leaves()) for tree in found.forest] == [4] * 3  # P(p > 1/2) under Beta(5, 1) is 1 - 2^-5
    torn = Adaptive(12, 4, Sampling(max_tokens=2), extract=last).search(problems(3), CharEngine(digits))
    assert [len(tree.leaves()) for tree in torn.forest] == [12] * 3
    assert not Settled(0.95, str)(leaves(("1", 0), ("1", 0), ("2", 0)))


def test_sampling_stops_when_a_leaf_is_good_enough() -> None:
    rule = Adaptive(60, 3, Sampling(max_tokens=2), Certain(8.0), score="value", extract=last)
    found = rule.search(problems(8), CharEngine(digits), TextScorer(float))
    for tree in found.forest:
        values = [leaf.value("value") for leaf in tree.leaves()]
        assert max(values[:-3], default=0) < 8 <= max(values)


def test_a_blend_goes_over_from_estimates_to_outcomes() -> None:
    stats = Stats(visits=2, total=1.0, estimates=2, estimated=1.0)
    assert stats.q(fading) == stats.q(None) == 0.5
    stats.outcomes, stats.real = 3, 3.0
    assert stats.q(fading) == pytest.approx(0.25 * 0.5 + 0.75 * 1.0)


def test_mcts_visits_add_up() -> None:
    search = MCTS(12, 8, Sampling(max_tokens=8), exploration=0.2)
    found = search.search(problems(2), CharEngine(three_steps), TextScorer(best_reachable))
    for tree in found.forest:
        root = tree.root
        assert root.value("visits") == sum(child.value("visits") for child in root.children)
        for node in tree.walk():
            if node.children and node.parent and node.value("visits"):
                below = sum(child.value("visits") or 0 for child in node.children)
                assert node.value("visits") == below + 1


def test_lookahead_judges_by_what_comes_next() -> None:
    # Of a step's score only the second is telling: after "a" every response is good, and "a" itself looks bad.
    def judge(response: str) -> float:
        return (response[0] != "a") * 0.5 if response.count("\n") < 2 else float(response[0] == "a")

    here = StepBeam(1, 32, Sampling(max_tokens=4), max_steps=1)
    ahead = StepBeam(1, 32, Sampling(max_tokens=4), max_steps=1, lookahead=1)
    first = [
        strategy.search(problems(1), CharEngine(three_steps), TextScorer(judge)).answers[0].response()[0]
        for strategy in (here, ahead)
    ]
    assert first[0] != "a"
    assert first[1] == "a"


def test_mirror_descent_moves_from_the_policy_with_its_rate() -> None:
    def share(rate: float) -> float:
        search = MirrorDescentSearch(12, 1, rate, Sampling(max_tokens=4))
        found = search.search(problems(40), CharEngine(three_steps), TextScorer(lambda text: float(text[0] == "a")))
        return float(np.mean([answer.response()[0] == "a" for answer in found.answers]))

    # One step of exp(rate * Q): "a" has a quarter at rate 0, and e^r / (e^r + 3) of it at rate r.
    assert share(0.0) == pytest.approx(0.25, abs=0.2)
    assert share(2.0) == pytest.approx(math.e**2 / (math.e**2 + 3), abs=0.2)


def test_one_planned_step_is_judged_by_where_its_rollouts_end() -> None:
    # Only whole responses have a score; at so high a rate the step with the best rollouts is taken.
    whole = TextScorer(lambda text: float(text[0] == "a") if text.count("\n") == 3 else None)
    search = MirrorDescentSearch(32, 1, 100.0, Sampling(max_tokens=4), max_steps=1)
    found = search.search(problems(4), CharEngine(three_steps), whole)
    assert [answer.response() for answer in found.answers] == ["a\n"] * 4


def test_a_draft_that_is_good_enough_is_not_refined() -> None:
    asked: list[str] = []

    def question(*said: str) -> str:
        asked.append(said[0])
        return "?"

    refine = SelfRefine(3, Sampling(max_tokens=2), "value", 5.0, critique=question, revise=question)
    found = refine.search(
        problems(20), CharEngine(digits), TextScorer(lambda text: float(text[-1]) if text[-1].isdigit() else None)
    )
    assert asked
    assert all(float(draft) < 5 for draft in asked)
    for tree, answer in zip(found.forest, found.answers, strict=True):
        by = [leaf for leaf in tree.leaves() if leaf.author == "policy"]
        assert answer.value("value") == max(leaf.value("value") for leaf in by)


def test_a_critique_costs_tokens_and_is_no_sample() -> None:
    ask = {"critique": lambda draft: "wrong?", "revise": lambda draft, words: "better?"}
    found = SelfRefine(2, Sampling(max_tokens=2), **ask).search(problems(3), CharEngine(digits))
    FormatMatch(".*7", "correct").score(found.forest)
    for tree in found.forest:
        judged = [node.author for node in tree.walk() if "correct" in node.scores]
        assert judged == [leaf.author for leaf in tree.leaves()] == ["policy"] * 3
        assert sum(node.author == "critic" for node in tree.walk()) == 2
    with pytest.raises(AuditError, match="pass@4"):
        pass_curve(found.forest, [4])
    assert pass_curve(found.forest, [3])[3].n == 3
    assert [each.generated for each in found.ledgers] == [5 * 2] * 3


def test_engines_without_next_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"CharEngine does not tell the probabilities of next tokens.*LocalEngine"):
        ValueGuided().search(problems(1), CharEngine(digits), TextScorer(len))
    with pytest.raises(ConfigError, match="alpha must be above 0"):
        TransferQ(alpha=0.0)


LANGUAGE = Language("abc", length=3)
CONFIG = config("llama", max_position_embeddings=8, initializer_range=0.5)


def test_certainty_is_what_the_distributions_say() -> None:
    model = from_config(CONFIG, tokenizer(LANGUAGE), seed=2)
    root = Node("ab", "prompt")
    first = root.add(Node("c", stop="length"))
    leaf = first.add(Node("a", stop="eos"))
    forest = Forest([Tree(root)])
    for scorer in (SelfCertainty(model), Entropy(model), Likelihood(model)):
        scorer.score(forest)
    assert not first.scores
    table = Neural(LANGUAGE, model.hf).next_logprobs()[0].detach()
    texts = LANGUAGE.texts
    rows = torch.stack([table[0], table[texts.index("c")], table[texts.index("ca")]])
    taken = rows[range(3), [2, 0, 3]]
    assert leaf.value("self-certainty") == pytest.approx(float((-math.log(4) - rows.mean(1)).mean()), abs=1e-5)
    assert leaf.value("negative entropy") == pytest.approx(float((rows.exp() * rows).sum(1).mean()), abs=1e-5)
    assert leaf.value("likelihood") == pytest.approx(float(taken.mean()), abs=1e-5)


def test_a_temperature_is_learned_from_which_responses_were_best() -> None:
    model = from_config(CONFIG, tokenizer(LANGUAGE), seed=2)
    trees = []
    for prompt, good in (("ab", 0.0), ("ba", 1.0), ("cb", 0.0), ("bc", 1.0)):
        root = Node(prompt, "prompt")
        for temperature in (0.0, 1.0):
            score = Score(float(temperature == good))
            root.add(Node("a", stop="eos", scores={"value": score}, meta={"temperature": temperature}))
        trees.append(Tree(root))
    head = TemperatureHead(model, (0.0, 1.0))
    assert head(head.states([tree.root for tree in trees])).exp().tolist() == [[0.5, 0.5]] * 4
    losses = fit_temperature(head, Forest(trees), "value", steps=150)
    assert losses[0] == pytest.approx(math.log(2))
    with torch.no_grad():
        law = head(head.states([tree.root for tree in trees])).exp()
    assert law.argmax(1).tolist() == [0, 1, 0, 1]
    assert losses[-1] < 0.3


def test_of_equally_good_temperatures_each_is_preferred_as_often() -> None:
    trees = []
    for _ in range(200):
        root = Node("p", "prompt")
        for temperature, value in ((0.0, 1.0), (0.5, 0.0), (1.0, 1.0)):
            root.add(Node("a", stop="eos", scores={"value": Score(value)}, meta={"temperature": temperature}))
        trees.append(Tree(root))
    drawn = [latent_pairs(Forest(trees), "value", (0.0, 0.5, 1.0), seed) for seed in (0, 0, 1)]
    (_, chosen, rejected), (_, again, _), (_, other, _) = drawn
    assert 70 < (chosen == 0).sum() < 130
    assert set(chosen.tolist()) == {0, 2}
    assert set(rejected.tolist()) == {1}
    assert chosen.tolist() == again.tolist() != other.tolist()
