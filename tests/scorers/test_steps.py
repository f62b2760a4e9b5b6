"""Step scores combined into one, and the process rewards of log-ratios."""

from __future__ import annotations

import pytest
import torch

from espalier.errors import ConfigError
from espalier.models import Model, encode, from_config, pack, train_tokenizer
from espalier.scorers import ImplicitProcess, ImplicitReward, Scorer, Steps, combine
from espalier.trees import Forest, Ledger, Node, Score, Tree
from espalier.worlds.arithmetic import ArithmeticStepVerifier
from tests.tiny import config

CONFIG = config("qwen3", kv_heads=1, head_dim=8)


def problem() -> Tree:
    root = Node("2+3*4=\n", "prompt")
    first = root.add(Node("3*4=12\n", stop="stop"))
    tool = first.add(Node("[12]", "tool"))
    tool.add(Node("2+12=14\n#14", stop="eos"))
    first.add(Node("2+12=15\n#15", stop="eos"))
    return Tree(root)


@pytest.mark.parametrize(
    ("how", "expected"), [("min", 0.5), ("product", 0.36), ("last", 0.8), ("mean", 2.2 / 3), ("sum", 2.2)]
)
def test_combinations_by_hand(how, expected):
    assert combine([0.9, 0.5, 0.8], how) == pytest.approx(expected)


def test_a_response_of_no_step_has_nothing_to_combine():
    with pytest.raises(ValueError, match="no step"):
        combine([], "min")


def test_every_judged_node_gets_the_combination_of_the_steps_up_to_it():
    tree = problem()
    scorer = Steps(ArithmeticStepVerifier(), "mean")
    assert isinstance(scorer, Scorer)
    scorer.score(Forest([tree]))
    first = tree.root.children[0]
    assert first.value("step-mean") == 1.0
    assert [leaf.value("step-mean") for leaf in tree.leaves()] == [pytest.approx(1 / 3), 0.5]
    assert "step-mean" not in tree.root.scores
    assert scorer.spent == scorer.scorer.spent != Ledger()


def test_a_missing_step_makes_the_response_missing_and_not_zero():
    tree = problem()
    tree.root.children[0].scores["step"] = Score.absent("timed out")
    Steps(ArithmeticStepVerifier(), "product").score(Forest([tree]))
    assert all(leaf.scores["step-product"].missing == "a step has no score: timed out" for leaf in tree.leaves())


def test_an_unknown_way_to_combine_is_refused():
    with pytest.raises(ConfigError, match="min, product, last, mean, sum; found 'max'"):
        Steps(ArithmeticStepVerifier(), "max")  # type: ignore[arg-type]


def models() -> tuple[Model, Model]:
    tokenizer = train_tokenizer(["0123456789+*=#[]\n"], kind="char")
    return tuple(from_config(CONFIG, tokenizer, seed=seed) for seed in (0, 1))


def test_implicit_process_rewards_are_differences_of_prefix_sums_and_add_up_to_the_implicit_reward():
    policy, reference = models()
    tree = problem()
    forest = Forest([tree])
    Steps(ImplicitProcess(policy, reference, beta=0.5), "sum").score(forest)
    ImplicitReward(policy, reference, beta=0.5).score(forest)
    for leaf in tree.leaves():
        assert leaf.value("process-sum") == pytest.approx(leaf.value("implicit"), abs=1e-5)
    copy = tree.copy()
    encode([copy], policy.tokenizer)
    packed = pack([copy])
    with torch.no_grad():
        rewards = 0.5 * (policy(packed).logprobs - reference(packed).logprobs)
    for at, node in enumerate(tree.walk()):
        if node.author == "policy":
            assert node.value("process") == pytest.approx(float(rewards[packed.target_segment == at].sum()), abs=1e-5)
        else:
            assert "process" not in node.scores
