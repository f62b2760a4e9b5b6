"""An exact language in the library's own parts: packed models, scorers, samplers and strategies."""

import pytest
import torch

from espalier import Engine, Node, Sampling, Scorer, from_config
from espalier.engines import LocalEngine
from espalier.errors import ConfigError, ContextLengthError, DataError
from espalier.exact import (
    ExactEngine,
    ExactScorer,
    Language,
    Neural,
    Tabular,
    bandit,
    best_of_n,
    forest,
    place,
    random_reward,
    responses,
    soft_values,
    tokenizer,
    total_variation,
)
from espalier.models import encode, pack
from espalier.search import BestOfN
from tests.tiny import config

LANGUAGE = Language("ab", 3, prompts=("a", "bb"))
POLICY = Tabular.random(LANGUAGE, 0)


def empirical(nodes, language, prompt):
    counts = torch.zeros(len(language.strings)).double()
    for node in nodes:
        counts[place(language, node).string] += 1
    return (counts / counts.sum()).log()


def tiny(language):
    return from_config(config("qwen2", layers=2), tokenizer(language))


@pytest.mark.parametrize("end", [True, False])
def test_every_string_is_a_leaf_with_its_log_prob(end):
    language = Language("ab", 3, end=end)
    policy = Tabular.random(language, 0)
    (tree,) = forest(policy)
    law = policy().detach()
    found = {leaf.meta["string"]: leaf for leaf in tree.leaves()}
    assert sorted(found) == list(range(len(language.strings)))
    for string, leaf in found.items():
        path = leaf.path()[1:]
        assert leaf.response() == language.strings[string]
        assert [token for node in path for token in node.token_ids] == language.ids(string)
        assert sum(x for node in path for x in node.logprobs) == pytest.approx(law[0, string].item())
        assert place(language, leaf).string == string


def test_a_packed_model_on_the_forest_agrees_with_the_enumeration():
    model = tiny(LANGUAGE)
    policy = Neural(LANGUAGE, model.hf)
    for trees in (forest(policy), responses(LANGUAGE, [range(15)] * 2, policy)):
        encode(trees, model.tokenizer)
        packed = pack(trees)
        with torch.no_grad():
            found = model(packed).logprobs
        expected = [x for tree in trees for node in tree.walk() if node.logprobs for x in node.logprobs]
        torch.testing.assert_close(found.double(), torch.tensor(expected).double(), atol=1e-5, rtol=0)


def test_the_local_engine_samples_the_enumerated_law():
    model = tiny(LANGUAGE)
    law = Neural(LANGUAGE, model.hf)().detach()
    roots = forest(Tabular(LANGUAGE)).prompts()
    drawn = LocalEngine(model).extend([tree.root for tree in roots], 4000, Sampling(max_tokens=3))
    for prompt, (tree, nodes) in enumerate(zip(roots, drawn, strict=True)):
        for node in nodes:
            tree.root.add(node)
        assert total_variation(empirical(nodes, LANGUAGE, prompt), law[prompt]) < 0.04
        for node in nodes[:20]:
            assert sum(node.logprobs) == pytest.approx(law[prompt, place(LANGUAGE, node).string].item(), abs=1e-4)


def test_the_exact_engine_samples_the_policy_with_its_log_probs():
    engine = ExactEngine(POLICY)
    assert isinstance(engine, Engine)
    roots = forest(POLICY).prompts()
    drawn = engine.extend([tree.root for tree in roots], 8000, Sampling(max_tokens=9))
    law = POLICY().detach()
    for prompt, (tree, nodes) in enumerate(zip(roots, drawn, strict=True)):
        for node in nodes:
            tree.root.add(node)
        assert total_variation(empirical(nodes, LANGUAGE, prompt), law[prompt]) < 0.03
        assert sum(nodes[0].logprobs) == pytest.approx(law[prompt, place(LANGUAGE, nodes[0]).string].item())
    assert engine.spent.generated == sum(len(node.token_ids) for nodes in drawn for node in nodes)


def test_exact_samples_pause_go_on_and_repeat():
    engine, (tree, _) = ExactEngine(POLICY), forest(POLICY).prompts()
    one = engine.extend([tree.root], 6, Sampling(max_tokens=1))[0]
    assert all(node.stop == "eos" or (node.stop, len(node.text)) == ("length", 1) for node in one)
    again = engine.extend([tree.root], 3, Sampling(max_tokens=1))[0]
    assert [node.token_ids for node in again] == [node.token_ids for node in one[:3]]
    twice = engine.extend([tree.root, tree.root], 50, Sampling())
    assert [n.text for n in twice[0]] != [n.text for n in twice[1]]
    paused = [n for n in engine.extend([tree.root], 50, Sampling(stop=("b",)))[0] if n.stop == "stop"]
    assert paused
    assert all(n.text.endswith("b") and n.text.count("b") == 1 for n in paused)
    on = engine.extend([tree.root.add(paused[0])], 1, Sampling())[0][0]
    assert len(on.text) + len(paused[0].text) <= 3
    greedy = engine.extend([tree.root], 2, Sampling(temperature=0))[0]
    assert greedy[0].token_ids == greedy[1].token_ids
    assert greedy[0].token_ids[0] == POLICY.next_logprobs()[0, 0].argmax()


def test_the_exact_engine_refuses_what_cannot_go_on():
    engine, tree = ExactEngine(POLICY), forest(POLICY)[0]
    full = next(leaf for leaf in tree.leaves() if leaf.stop == "length")
    ended = next(leaf for leaf in tree.leaves() if leaf.stop == "eos")
    with pytest.raises(ContextLengthError, match="full length"):
        engine.extend([full], 1, Sampling())
    with pytest.raises(ValueError, match="has ended"):
        engine.extend([ended], 1, Sampling())
    with pytest.raises(DataError, match="prompt"):
        engine.extend([Node("c", "prompt")], 1, Sampling())
    with pytest.raises(ConfigError, match="top_p"):
        engine.extend([tree.root], 1, Sampling(top_p=0.5))


def test_the_exact_scorer_knows_every_prefix_and_string():
    reward = random_reward(LANGUAGE, 1)
    values = soft_values(LANGUAGE, POLICY.next_logprobs().detach(), reward, 0.5).value
    scorer = ExactScorer(LANGUAGE, "value", reward, values)
    assert isinstance(scorer, Scorer)
    scored = scorer.score(forest(POLICY))
    for prompt, tree in enumerate(scored):
        for node in tree.walk():
            if node is not tree.root:
                _, text, string = place(LANGUAGE, node)
                expected = values[prompt, text] if string is None else reward[prompt, string]
                assert node.value("value") == expected
    ends = ExactScorer(LANGUAGE, "reward", reward).score(forest(POLICY))
    assert all(leaf.value("reward") is not None for leaf in ends.leaves())
    assert not [node for node in ends.nodes() if node.children and node.scores]


def test_best_of_n_search_draws_from_the_exact_law_of_the_best():
    arms = bandit(5)
    policy, reward = Tabular.random(arms, 3), random_reward(arms, 4)
    law = policy().detach()
    wins = torch.zeros(5).double()
    problems = forest(policy).prompts()
    for seed in range(1000):
        strategy = BestOfN(3, Sampling(max_tokens=1, seed=seed), score="reward")
        found = strategy.search(problems.load().prompts(), ExactEngine(policy), ExactScorer(arms, "reward", reward))
        wins[place(arms, found.answers[0]).string] += 1
    assert total_variation((wins / wins.sum()).log(), best_of_n(law, reward, 3)[0]) < 0.04
