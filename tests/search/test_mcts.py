"""Which of an expansion's steps MCTS rolls out, where outcomes are dear."""

from __future__ import annotations

import pytest

from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.search import MCTS

from .language import CharEngine, TextScorer, best_reachable, problems, three_steps


def test_of_an_expansion_only_the_step_with_the_highest_value_is_rolled_out() -> None:
    search = MCTS(1, 32, Sampling(max_tokens=4), rollout_share=0.5, rollouts=1)
    found = search.search(problems(3), CharEngine(three_steps), TextScorer(best_reachable))
    for tree in found.forest:
        (whole,) = [leaf for leaf in tree.leaves() if leaf.stop == "eos"]
        best = max(tree.root.children, key=lambda child: child.value("value"))
        assert whole.path()[1] is best
        assert [child.value("visits") for child in tree.root.children] == [1.0] * len(tree.root.children)


def test_where_values_do_not_count_the_step_drawn_first_is_rolled_out_and_the_others_stay_unjudged() -> None:
    search = MCTS(1, 32, Sampling(max_tokens=4), rollout_share=1.0, rollouts=1)
    found = search.search(problems(3), CharEngine(three_steps), TextScorer(best_reachable))
    for tree in found.forest:
        assert [child.value("visits") for child in tree.root.children][:2] == [1.0, None]
        assert tree.root.value("q") == found.answers[int(tree.id)].value("value")
    with pytest.raises(ConfigError, match="rollouts must be at least 1"):
        MCTS(rollouts=0)
