"""What a pair is made of: detail over brevity, a goal in the prompt, hindsight, demonstrations over samples."""

from collections import Counter

import pytest

from espalier.curation.demonstrated import demonstrated_pairs
from espalier.curation.goals import reward_conditioned
from espalier.curation.hindsight import hindsight
from espalier.curation.patient import patient_pairs
from espalier.trees import Forest, Node, Score, Tree, pairs


def tree(prompt: str = "why?", **scores: float) -> Tree:
    """A response of each text, with its score."""
    made = Tree(Node(prompt, "prompt", token_ids=[1]), id=prompt)
    for text, score in scores.items():
        made.root.add(Node(text, token_ids=[2, 3], logprobs=[-1.0, -1.0], stop="eos", scores={"r": Score(score)}))
    return made


def told(forest: Forest) -> list[tuple[str, str, str]]:
    found = [(one.prompt, pair) for one in forest for pair in pairs(one)]
    return [(prompt, pair.chosen.response(), pair.rejected.response()) for prompt, pair in found]


def test_patience_compares_only_right_responses():
    forest = Forest([tree(at_great_length=0.0, long=1.0, longer=1.0, s=1.0), tree(wrong=0.0, right=1.0)])
    for one in forest:
        for leaf in one.leaves():
            leaf.token_ids = None
    assert told(patient_pairs(forest, "r")) == [("why?", "longer", "s")]


def test_a_goal_turns_the_pair_round_and_drops_what_the_old_prompt_gave():
    found = reward_conditioned(Forest([tree(better=9.0, worse=2.5)]), "r", template="[{goal:g}] {prompt}")
    assert told(found) == [("[9] why?", "better", "worse"), ("[2.5] why?", "worse", "better")]
    assert [one.meta["goal"] for one in found] == [9.0, 2.5]
    assert all(node.logprobs is None for one in found for node in one.walk())
    assert found[0].root.token_ids is None
    assert found[0].leaves()[0].token_ids == [2, 3]


def test_hindsight_says_both_responses_in_both_orders_and_only_they_are_learned():
    found = hindsight(Forest(tree(good=1.0, bad=0.0) for _ in range(40)), "r", better=["+"], worse=["-"])
    assert Counter(one.leaves()[0].response() for one in found).keys() == {"+good-bad", "-bad+good"}
    learned = [node.text for node in found[0].walk() if node.author in ("policy", "human")]
    assert sorted(learned) == ["bad", "good"]
    with pytest.raises(ValueError, match="as many"):
        hindsight(found, better=["+"], worse=[])


def test_demonstrations_beat_all_rounds_and_newer_rounds_beat_older_ones():
    shown, *rounds = (Forest([tree(prompt, **{name: 0.0}) for prompt in ("one", "two")]) for name in "dabc")
    found = told(demonstrated_pairs(shown, rounds, 2000, seed=1))
    count = Counter((chosen, rejected) for _, chosen, rejected in found)
    assert count.keys() == {("d", "c"), ("d", "a"), ("d", "b"), ("b", "a"), ("c", "a"), ("c", "b")}
    assert abs(count["d", "c"] / 2000 - 0.7) < 0.05
    assert abs((count["d", "a"] + count["d", "b"]) / 2000 - 0.2) < 0.05
    assert {prompt for prompt, _, _ in found} == {"one", "two"}


def test_the_first_round_is_compared_with_demonstrations_alone():
    shown, first = (Forest([tree("one", **{name: 0.0})]) for name in "da")
    assert set(told(demonstrated_pairs(shown, [first], 20))) == {("one", "d", "a")}
    with pytest.raises(ValueError, match="prompts"):
        demonstrated_pairs(shown, [Forest([tree("other", a=0.0)])], 1)
