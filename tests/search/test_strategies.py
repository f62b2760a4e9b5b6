"""Strategies over an explicit language, whose engine and scorer are also what a user's own look like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from espalier.engines.base import Engine, Sampling
from espalier.errors import ConfigError, ContextLengthError, EngineError
from espalier.scorers.base import Scorer
from espalier.search import BestOfN, Greedy, MajorityVote, Sample, StepBeam, Strategy, WeightedVote, generated
from espalier.trees import Forest, Ledger

from .language import CharEngine, TextScorer, best_reachable, digits, last, problems, rewards, three_steps


def test_the_parts_meet_the_protocols():
    assert isinstance(CharEngine(digits), Engine)
    assert isinstance(TextScorer(len), Scorer)
    for strategy in (Greedy(), Sample(), BestOfN(), MajorityVote(extract=last), WeightedVote(extract=last), StepBeam()):
        assert isinstance(strategy, Strategy)


def test_greedy_follows_the_most_probable_characters():
    engine = CharEngine(lambda text: {"": 1.0} if text[-1] == "y" else {"x": 0.4, "y": 0.6})
    found = Greedy(max_tokens=5).search(problems(2), engine)
    assert [answer.text for answer in found.answers] == ["y", "y"]
    assert found.answers[0].stop == "eos"


@pytest.mark.parametrize("n", [1, 4, 16])
def test_best_of_n_gains_what_order_statistics_say(n):
    found = BestOfN(n, Sampling(seed=3)).search(problems(600), CharEngine(digits), TextScorer(float))
    scores = np.array([answer.value("value") for answer in found.answers])
    # The mean of the largest of n uniform digits: the sum over d of P(max > d).
    expected = sum(1 - ((d + 1) / 10) ** n for d in range(9))
    assert abs(scores.mean() - expected) < 4 * scores.std() / np.sqrt(len(scores))


def test_weighted_vote_with_constant_weights_is_the_majority_vote():
    sampling = Sampling(seed=1)
    majority = MajorityVote(7, sampling, extract=last).search(problems(50), CharEngine(digits))
    weighted = WeightedVote(7, sampling, extract=last).search(
        problems(50), CharEngine(digits), TextScorer(lambda text: 0.1)
    )
    assert [a.text for a in majority.answers] == [a.text for a in weighted.answers]
    assert len({a.text for a in majority.answers}) > 3


def test_beam_with_the_exact_value_finds_the_optimum():
    beam = StepBeam(1, 32, Sampling(max_tokens=8, seed=0))
    found = beam.search(problems(5), CharEngine(three_steps), TextScorer(best_reachable))
    optimum = max(rewards(), key=rewards().__getitem__)
    assert [answer.response() for answer in found.answers] == [optimum] * 5


def test_beam_keeps_every_branch_that_was_tried():
    beam = StepBeam(2, 3, Sampling(max_tokens=8, seed=0))
    found = beam.search(problems(1), CharEngine(three_steps), TextScorer(best_reachable))
    tree = found.forest[0]
    nodes = [node for node in tree.walk() if node.parent]
    draws = sum(node.meta.get("draws", 1) for node in nodes)
    assert draws == 6 + 6 + 6 + 6  # width * expand in each of three steps and the round that ends them
    for parent in tree.walk():
        assert len({child.text for child in parent.children}) == len(parent.children)
    lived = {id(node.parent) for node in nodes}
    by_depth = [[node for node in nodes if node.depth == depth] for depth in (1, 2, 3)]
    for level in by_depth:
        assert sum(id(node) in lived for node in level) == min(2, len(level))
    kept = [node.value("value") for node in by_depth[0] if id(node) in lived]
    dropped = [node.value("value") for node in by_depth[0] if id(node) not in lived]
    assert min(kept) >= max(dropped)


def test_all_trees_of_a_chunk_advance_in_one_call_a_round():
    engine = CharEngine(three_steps)
    StepBeam(1, 4, Sampling(max_tokens=8)).search(problems(6), engine, TextScorer(best_reachable))
    assert [prefixes for prefixes, _ in engine.calls] == [6] * 4
    assert len({seed for _, seed in engine.calls}) == 4  # no round repeats another's draws


def test_beam_can_choose_by_a_weighted_vote_over_finished_leaves():
    def first_letter(text: str) -> str:
        return text[0]

    # The best single response starts with a, but the responses that start with b weigh more together.
    def judge(response: str) -> float:
        return 0.9 if response.startswith("a\na") else {"a": 0.1, "b": 0.5}.get(response[0], 0.0)

    engine, sampling = CharEngine(three_steps), Sampling(max_tokens=8, seed=2)
    by_best = StepBeam(16, 32, sampling).search(problems(1), engine, TextScorer(judge))
    by_vote = StepBeam(16, 32, sampling, vote=first_letter).search(problems(1), engine, TextScorer(judge))
    assert (by_best.answers[0].response()[0], by_vote.answers[0].response()[0]) == ("a", "b")


def test_beam_that_never_finishes_answers_with_an_unfinished_leaf():
    found = StepBeam(1, 4, Sampling(max_tokens=8), max_steps=2).search(
        problems(1), CharEngine(three_steps), TextScorer(best_reachable)
    )
    assert found.answers[0].stop == "stop"


def test_beam_leaves_a_prefix_that_filled_the_context_where_it_is():
    # "0?" and two steps of two characters fill the context of six; a prompt that is too long is an error.
    engine = CharEngine(three_steps, context=6)
    found = StepBeam(2, 2, Sampling(max_tokens=8)).search(problems(3), engine, TextScorer(best_reachable))
    assert all(len(answer.full_text()) == 6 for answer in found.answers)
    with pytest.raises(ContextLengthError):
        StepBeam(2, 2).search(problems(3), CharEngine(three_steps, context=2), TextScorer(best_reachable))


def test_a_step_without_a_score_does_not_live_on_and_does_not_count_as_zero():
    def judge(response: str) -> float | None:
        return None if response.startswith("a") else best_reachable(response) - 2.0

    found = StepBeam(2, 16, Sampling(max_tokens=8)).search(problems(1), CharEngine(three_steps), TextScorer(judge))
    unscored = next(node for node in found.forest[0].root.children if node.text == "a\n")
    assert unscored.is_leaf
    assert found.answers[0].value("value") < 0


@pytest.mark.parametrize(
    "strategy",
    [
        BestOfN(5, Sampling(max_tokens=12), batch=3),
        MajorityVote(5, Sampling(max_tokens=12), extract=last, batch=3),
        StepBeam(2, 3, Sampling(max_tokens=8), batch=3),
    ],
    ids=lambda strategy: strategy.name,
)
def test_the_ledger_is_what_engine_and_scorer_spent_and_trees_share_it(strategy):
    engine, scorer = CharEngine(three_steps, spent=Ledger(generated=1000, calls=7)), TextScorer(best_reachable)
    found = strategy.search(problems(7), engine, scorer)
    assert found.ledger == engine.spent - Ledger(generated=1000, calls=7) + scorer.spent
    assert sum(each.generated for each in found.ledgers) == found.ledger.generated
    assert sum(each.scored for each in found.ledgers) == found.ledger.scored
    for tree, ledger in zip(found.forest, found.ledgers, strict=True):
        drawn = sum(len(node.token_ids) * node.meta.get("draws", 1) for node in tree.walk() if node.parent)
        assert ledger.generated == drawn
        if strategy.name != "step-beam":
            assert ledger.generated == generated(tree.leaves())


def test_merged_repeats_are_not_charged_as_scored():
    def steps(text: str) -> dict[str, float]:
        if text[-1].isalpha():
            return {"\n": 1.0}
        return {"a": 1.0} if text[0] == "0" else dict.fromkeys("abcd", 0.25)

    beam = StepBeam(1, 32, Sampling(max_tokens=8), max_steps=1)
    found = beam.search(problems(2), CharEngine(steps), TextScorer(len))
    assert [each.generated for each in found.ledgers] == [64, 64]
    same, distinct = (each.scored for each in found.ledgers)
    assert same / distinct == pytest.approx(4 / 10, abs=0.1)  # "0?" and one step of two characters; four steps


def test_the_same_seed_grows_the_same_forest_and_chunks_do_not_repeat_each_other():
    def grown(seed: int) -> list[str]:
        found = Sample(4, Sampling(seed=seed), batch=2).search(problems(6), CharEngine(digits))
        return ["".join(leaf.text for leaf in tree.leaves()) for tree in found.forest]

    assert grown(0) == grown(0) != grown(1)
    assert len(set(grown(0))) == 6


def test_progress_hears_of_every_chunk():
    heard = []
    Sample(1, batch=2, progress=lambda done, total: heard.append((done, total))).search(problems(5), CharEngine(digits))
    assert heard == [(2, 5), (4, 5), (5, 5)]


def test_nothing_finished_leaves_the_cut_leaf_as_the_answer():
    found = Sample(3, Sampling(max_tokens=1)).search(problems(1), CharEngine(digits))
    assert found.answers[0].stop == "length"


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (lambda: Sample(2).search(Forest(), CharEngine(digits)), "the forest is empty"),
        (lambda: BestOfN(2).search(problems(1), CharEngine(digits)), "needs a scorer"),
        (
            lambda: BestOfN(2, score="reward").search(problems(1), CharEngine(digits), TextScorer(float)),
            r"'value' gave no node a score called 'reward' \(found: \['value'\]\)",
        ),
        (lambda: BestOfN(0), "BestOfN: n must be at least 1, found 0"),
        (lambda: StepBeam(width=0), "width must be at least 1"),
        (
            lambda: Sample(2).search(Sample(2).search(problems(1), CharEngine(digits)).forest, CharEngine(digits)),
            r"tree '0' has branches already.*prompts\(\)",
        ),
    ],
)
def test_what_cannot_be_searched_is_a_clear_error(search, says):
    with pytest.raises(ConfigError, match=says):
        search()


def test_an_engine_that_breaks_its_promise_is_named():
    class Short(CharEngine):
        def extend(self, prefixes, n, sampling):
            return super().extend(prefixes, n - 1, sampling)

    class Textual(CharEngine):
        def extend(self, prefixes, n, sampling):
            return [
                [replace(node, token_ids=None) for node in nodes] for nodes in super().extend(prefixes, n, sampling)
            ]

    with pytest.raises(EngineError, match=r"Short\.extend returned"):
        Sample(3).search(problems(2), Short(digits))
    with pytest.raises(EngineError, match="without token ids"):
        Sample(3).search(problems(2), Textual(digits))
