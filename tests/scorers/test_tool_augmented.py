"""A critic with tools judges what it could not judge alone, and the reward is read after what the tools said."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

import pytest
import torch

from espalier.engines import Calculator, Call, LocalEngine, Sampling, ToolEngine
from espalier.errors import ConfigError
from espalier.models import Model, encode, from_config, token_path, train_tokenizer
from espalier.scorers import Rating, RewardScorer, Scorer, ToolAugmented
from espalier.training import SFT, Reward
from espalier.trees import Forest, Ledger, Node, Score, Tree

CALCULATOR = Call(Calculator(), "[", "]", "({})")


class Checker:
    """A critic that cannot add, but copies the problem into a call and compares the answer with the response."""

    def __init__(self) -> None:
        self.spent = Ledger()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        return [[self._node(prefix.full_text()) for _ in range(n)] for prefix in prefixes]

    def _node(self, read: str) -> Node:
        problem, response = read.split("?")[0].split("=")
        told = re.search(r"\((.*)\)$", read)
        text = f"####{10 * (told[1] == response)}" if told else f"[{problem}]"
        self.spent += Ledger(generated=len(text), prefilled=len(read), calls=1)
        return Node(text, token_ids=[ord(c) for c in text], stop="eos" if told else "stop")


def answers(*responses: str, prompt: str = "17+25=") -> Tree:
    tree = Tree(Node(prompt, "prompt"), "q")
    for text in responses:
        tree.root.add(Node(text, stop="eos"))
    return tree


def small(head: bool = False, context: int = 64, chars: str = "") -> Model:
    config = {
        "model_type": "qwen2",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": context,
    }
    model = from_config(config, train_tokenizer(["0123456789+=[]()#?\n"], kind="char", extra_chars=chars))
    if head:
        model.add_head("reward", link="real")
        torch.manual_seed(1)
        for weight in model.heads.parameters():
            torch.nn.init.normal_(weight)
    return model


def test_the_tool_s_answer_decides_the_rating() -> None:
    scorer = ToolAugmented(ToolEngine(Checker(), [CALCULATOR]), question="?")
    assert isinstance(scorer, Scorer)
    tree = answers("42", "43")
    scorer.score(Forest([tree]))
    right, wrong = tree.leaves()
    assert (right.value("reward"), wrong.value("reward")) == (10, 0)
    assert right.meta["critiques"] == ["[17+25](42)####10"]
    assert sum(1 for _ in tree.walk()) == 3, "the critiques grow on a copy"
    assert (right.stop, right.author) == ("eos", "policy")
    spent = scorer.spent
    assert (spent.generated, spent.prefilled, spent.calls) == (0, 0, 1)
    assert spent.scored == scorer.engine.spent.generated + scorer.engine.spent.prefilled
    tree.root.add(Node("42", stop="eos"))
    scorer.score(Forest([tree]))
    assert scorer.spent.scored < 1.6 * spent.scored, "what has its score is not judged again"
    assert [leaf.value("reward") for leaf in tree.leaves()] == [10, 0, 10]


def test_a_reward_model_reads_the_whole_trace() -> None:
    judge, tree = small(head=True), answers("42", "9+9")
    engine = ToolEngine(LocalEngine(small()), [Call(Calculator(), "=", "\n", "{}\n")], max_calls=2)
    scorer = ToolAugmented(
        engine, RewardScorer(judge), question="\n", sampling=Sampling(20, stop=("#",)), n=3, name="judged"
    )
    scorer.score(Forest([tree]))
    again = scorer.critiqued(Forest([tree]))  # the same samples
    for leaf in tree.leaves():
        read = f"17+25={leaf.text}\n"
        ends = [end for end in again[0].leaves() if end.full_text().startswith(read)]
        flat = Tree(Node(read, "prompt"))
        for end, text in zip(ends, leaf.meta["critiques"], strict=True):
            assert end.full_text() == read + text
            ids = token_path(end, judge.tokenizer)[len(read) :]
            flat.root.add(Node(text, token_ids=ids, stop=end.stop))
        RewardScorer(judge).score(Forest([flat]))
        rewards = [end.value("reward") or 0.0 for end in flat.leaves()]
        assert leaf.value("judged") == pytest.approx(statistics.fmean(rewards), abs=1e-5)
        assert leaf.scores["judged"].spread == pytest.approx(statistics.stdev(rewards) / 3**0.5, abs=1e-5)


def test_what_cannot_be_judged_is_missing() -> None:
    model = small(context=16)
    short = answers("42", "1+1+1+1+1")
    ToolAugmented(LocalEngine(model), question="?", sampling=Sampling(2, 0.0)).score(Forest([short]))
    fits, full = short.leaves()
    assert "no room" in str(full.scores["reward"].missing)
    assert [len(leaf.meta["critiques"]) for leaf in (fits, full)] == [1, 0]
    tree = answers("42")
    ToolAugmented(Checker(), question="?").score(Forest([tree]))  # without tools it only asks, and 25 is no rating
    assert "rates nothing" in str(tree.leaves()[0].scores["reward"].missing)


def test_only_a_marked_number_is_a_rating() -> None:
    tree = Tree(Node("1+1=3", "prompt"))
    for text in ("it is 2, ####7/10", "it is 2", "it"):
        tree.root.add(Node(text, stop="eos"))
    Rating().score(Forest([tree]))
    assert [leaf.value("rating") for leaf in tree.leaves()] == [0.7, None, None]


def test_a_critic_with_another_tokenizer_reads_the_text() -> None:
    policy, critic = small(), small(chars="abc")
    tree = answers("42", "43")
    encode([tree], policy.tokenizer)
    before = [list(leaf.token_ids or ()) for leaf in tree.leaves()]
    ToolAugmented(LocalEngine(critic), question="?", sampling=Sampling(4, 0.0)).score(Forest([tree]))
    assert all(len(leaf.meta["critiques"]) == 1 for leaf in tree.leaves())
    assert [leaf.token_ids for leaf in tree.leaves()] == before
    assert tree.root.meta["tokenizer"] == policy.fingerprint


def test_critiques_are_what_a_critic_and_its_reward_learn_from() -> None:
    tree = answers("42", "43")
    for leaf, preference in zip(tree.leaves(), (1.0, 0.0), strict=True):
        leaf.scores["preference"] = Score(preference)
    forest = ToolAugmented(ToolEngine(Checker(), [CALCULATOR]), question="?").critiqued(Forest([tree]))
    assert len(Reward().select(forest)) == 1
    best, worst = forest[0].leaves()
    assert [leaf.value("preference") for leaf in (best, worst)] == [1, 0]
    learned = [node.text for node in best.path() if SFT().targets(node)]
    assert learned == ["[17+25]", "####10"], "calls and rationale, not what the tool answered or the response says"
    assert "reward" not in tree.leaves()[0].scores


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="all the same"):
        ToolAugmented(Checker(), n=2)
    with pytest.raises(ConfigError, match="at least 1"):
        ToolAugmented(Checker(), n=0)
