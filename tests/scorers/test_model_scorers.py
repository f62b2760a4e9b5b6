"""Model scorers against plain passes of the same transformers model, one response at a time."""

from __future__ import annotations

import math

import pytest
import torch

from espalier.errors import ModelError
from espalier.models import Model, from_config, train_tokenizer
from espalier.scorers import ImplicitReward, RewardScorer, Scorer, ValueScorer
from espalier.trees import Forest, Node, Score, Tree
from tests.tiny import config

CONFIG = config("qwen2", layers=2, kv_heads=1, max_position_embeddings=24)


def make(head: str | None = None, link: str = "probability", chars: str = "", seed: int = 0) -> Model:
    model = from_config(CONFIG, train_tokenizer(["0123456789+=\n"], kind="char", extra_chars=chars), seed=seed)
    if head is not None:
        model.add_head(head, link=link)
        torch.manual_seed(1)
        for weight in model.heads.parameters():
            torch.nn.init.normal_(weight)
    return model


def problem(prompt: str = "1+2=") -> Tree:
    """Two steps after a shared first one, one of them ended and one paused; and a response on its own."""
    root = Node(prompt, "prompt")
    first = root.add(Node("1+\n", stop="stop"))
    first.add(Node("2=3", stop="eos"))
    first.add(Node("4\n", stop="stop"))
    root.add(Node("7", stop="eos"))
    return Tree(root)


@torch.no_grad()
def head_at_the_end(model: Model, node: Node, head: str) -> float:
    """The raw head on an ordinary pass over the text up to the node's end."""
    ids = model.tokenizer(node.full_text()).input_ids
    ids += [model.tokenizer.eos_token_id] * (node.stop == "eos")
    states = model.hf(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1]
    return model.heads[head](states[0, -1]).item()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_one_pass_gives_every_step_the_value_of_a_pass_of_its_own():
    model = make("value")
    scorer = ValueScorer(model)
    assert isinstance(scorer, Scorer)
    tree = problem()
    scorer.score(Forest([tree]))
    assert "value" not in tree.root.scores
    for node in tree.root.walk():
        if node.parent is not None:
            assert node.value("value") == pytest.approx(sigmoid(head_at_the_end(model, node, "value")), abs=1e-5)
    assert len({node.value("value") for node in tree.walk()}) == 5
    assert scorer.spent.scored == 4 + 3 + 4 + 2 + 2  # the shared step once, an end-of-text token twice
    assert scorer.spent.calls == 1


def test_rewards_are_of_whole_responses_and_any_real_number():
    model = make("reward", link="real")
    tree = problem()
    RewardScorer(model).score(Forest([tree]))
    ended, paused, short = tree.leaves()
    for leaf in (ended, short):
        assert leaf.value("reward") == pytest.approx(head_at_the_end(model, leaf, "reward"), abs=1e-5)
    assert not paused.scores
    assert not tree.root.children[0].scores


def test_only_what_is_new_is_scored_and_only_its_path_is_run():
    scorer = ValueScorer(make("value"))
    tree = problem()
    tree.root.children[0].scores["value"] = Score(0.25)
    scorer.score(Forest([tree]))
    before = scorer.spent.scored
    scorer.score(Forest([tree]))
    assert scorer.spent.scored == before
    assert tree.root.children[0].value("value") == 0.25  # what had a score keeps it
    new = tree.root.children[0].children[1].add(Node("5", stop="eos"))
    scorer.score(Forest([tree]))
    assert scorer.spent.scored - before == 4 + 3 + 2 + 2
    assert new.value("value") == pytest.approx(sigmoid(head_at_the_end(scorer.model, new, "value")), abs=1e-5)


def test_passes_stay_within_the_budget_and_run_in_evaluation_mode():
    runs = []

    class Watched(ValueScorer):
        def judge(self, packed):
            runs.append((len(packed.token_ids), self.model.training))
            return super().judge(packed)

    model = make("value").train()
    Watched(model, tokens=30).score(Forest([problem() for _ in range(5)]))  # 15 tokens each
    assert runs == [(30, False), (30, False), (15, False)]


def test_the_budget_of_tokens_does_not_change_the_scores():
    def scored(tokens: int) -> list[float | None]:
        forest = Forest([problem("1+2="), problem("31+2="), problem("5=")])
        return [node.value("value") for node in ValueScorer(model, tokens=tokens).score(forest).nodes()]

    model = make("value")
    alone, together = scored(1), scored(8192)
    assert [v for v in alone if v is not None] == pytest.approx([v for v in together if v is not None], abs=1e-5)


def test_a_path_longer_than_the_context_is_missing_and_the_others_are_scored():
    tree = problem()
    long = tree.root.children[0].add(Node("9" * 18, stop="length"))
    below = long.add(Node("1", stop="eos"))
    ValueScorer(make("value")).score(Forest([tree]))
    assert long.scores["value"].missing == "25 tokens exceed the context of 24"
    assert below.scores["value"].is_missing
    assert all(leaf.value("value") is not None for leaf in tree.leaves() if leaf is not below)
    full = problem("1" * 17)  # 17 + 3 + 4 fill the context exactly
    ValueScorer(make("value")).score(Forest([full]))
    assert not any(leaf.scores["value"].is_missing for leaf in full.leaves())
    endless = problem("1" * 30)
    ValueScorer(make("value")).score(Forest([endless]))
    assert all(node.scores["value"].is_missing for node in endless.walk() if node.parent)


def test_an_output_that_is_not_finite_is_missing():
    model = make("reward", link="real")
    torch.nn.init.constant_(next(model.heads.parameters()), math.nan)
    tree = problem()
    RewardScorer(model).score(Forest([tree]))
    assert tree.leaves()[0].scores["reward"].missing == "the model's output is nan"


def test_a_model_without_the_head_is_refused():
    with pytest.raises(ModelError, match=r"RewardScorer needs a 'reward' head, this model has \['value'\]"):
        RewardScorer(make("value"))


def test_scoring_changes_nothing_but_scores():
    tree, model = problem(), make("value")
    model.train()
    ValueScorer(model).score(Forest([tree]))
    assert model.training
    assert tree.root.meta == {}
    assert all(node.token_ids is None for node in tree.walk())


def test_token_ids_of_another_tokenizer_are_not_used():
    model, tree, foreign = make("value"), problem(), problem()
    for node in foreign.walk():
        node.token_ids = [3]
    foreign.root.meta["tokenizer"] = make(chars="xyz").fingerprint
    ValueScorer(model).score(Forest([tree, foreign]))
    assert [n.value("value") for n in foreign.walk()] == [n.value("value") for n in tree.walk()]
    assert foreign.root.children[0].token_ids == [3]


@torch.no_grad()
def response_logprob(model: Model, leaf: Node) -> float:
    prompt = model.tokenizer(leaf.root().text).input_ids
    ids = prompt + model.tokenizer(leaf.response()).input_ids + [model.tokenizer.eos_token_id]
    logprobs = model.hf(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(logprobs[at - 1, ids[at]].item() for at in range(len(prompt), len(ids)))


def test_the_implicit_reward_is_the_scaled_log_ratio_of_the_response():
    policy, reference = make(seed=0), make(seed=1)
    tree = problem()
    scorer = ImplicitReward(policy, reference, beta=0.5)
    scorer.score(Forest([tree]))
    for leaf in (tree.leaves()[0], tree.leaves()[2]):
        expected = 0.5 * (response_logprob(policy, leaf) - response_logprob(reference, leaf))
        assert leaf.value("implicit") == pytest.approx(expected, abs=1e-4)
    assert scorer.spent.scored == 2 * (4 + 3 + 4 + 2)


def test_the_implicit_reward_of_an_adapter_needs_no_second_model():
    policy = make()
    before = make()
    policy.add_lora(rank=2)
    torch.manual_seed(0)
    for name, weight in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    one, two = problem(), problem()
    ImplicitReward(policy, None, beta=1.0).score(Forest([one]))
    ImplicitReward(policy, before, beta=1.0).score(Forest([two]))
    values = [leaf.value("implicit") for leaf in one.leaves()]
    assert values[0] == pytest.approx(two.leaves()[0].value("implicit"), abs=1e-5)
    assert abs(values[0]) > 1e-3


def test_policy_and_reference_must_share_a_tokenizer():
    with pytest.raises(ModelError, match="different tokenizers"):
        ImplicitReward(make(), make(chars="xyz"), beta=1.0)
