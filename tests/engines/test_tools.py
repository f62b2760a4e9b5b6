"""A continuation that calls a tool gets the answer and goes on; nothing of the answer is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from espalier.engines import LocalEngine, Sampling
from espalier.engines.base import Engine
from espalier.engines.calculator import Calculator
from espalier.engines.parity import replay
from espalier.engines.tools import Call, Hint, Tool, ToolEngine
from espalier.errors import ConfigError
from espalier.models import encode, pack, train_tokenizer
from espalier.scorers import NumericMatch
from espalier.search import Sample
from espalier.training import GRPO
from espalier.training.batch import paths
from espalier.training.rollout import Actor, rollout, sampled_logprobs
from espalier.trees import Forest, Ledger, Node, Tree
from tests.engines.conftest import tiny


class Writer:
    """An engine that always writes the same text, character by character, and ends where it is over."""

    def __init__(self, text: str) -> None:
        self.text, self.spent, self.calls = text, Ledger(), list[int]()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        self.calls.append(len(prefixes))
        return [[self._node(prefix, sampling) for _ in range(n)] for prefix in prefixes]

    def _node(self, prefix: Node, sampling: Sampling) -> Node:
        written = sum(len(node.text) for node in prefix.path() if node.author == "policy")
        text, stop = "", "eos"
        for character in self.text[written:]:
            text += character
            if any(text.endswith(end) for end in sampling.stop):
                stop = "stop"
                break
            if len(text) == sampling.max_tokens:
                stop = "length"
                break
        self.spent += Ledger(generated=len(text) + (stop == "eos"), calls=1)
        ids = [ord(c) for c in text] + [0] * (stop == "eos")
        return Node(text, token_ids=ids, logprobs=[-1.0] * len(ids), stop=stop)  # type: ignore[arg-type]


class Upper:
    """A tool that shouts."""

    name = "upper"

    def call(self, text: str) -> str:
        return text.upper()


SHOUT = Call(Upper(), "[", "]", "({})")


def extended(engine: Engine, n: int = 1, **sampling: object) -> tuple[Tree, list[Node]]:
    tree = Tree(Node("?", "prompt"))
    (nodes,) = engine.extend([tree.root], n, Sampling(**sampling))  # type: ignore[arg-type]
    assert tree.root.children == [], "the caller attaches"
    for node in nodes:
        tree.root.add(node)
    return tree, tree.leaves()


def story(leaf: Node) -> list[tuple[str, str]]:
    return [(node.author, node.text) for node in leaf.path()[1:]]


def test_the_answer_is_a_node_between_two_of_the_policy() -> None:
    writer = Writer("a[b]c[d]e")
    tree, leaves = extended(ToolEngine(writer, [SHOUT]), n=2)
    assert len(leaves) == 2
    for leaf in leaves:
        assert story(leaf) == [
            *(("policy", "a[b]"), ("tool", "(B)")),
            *(("policy", "c[d]"), ("tool", "(D)"), ("policy", "e")),
        ]
        assert leaf.stop == "eos"
    assert writer.calls == [1, 2, 2], "all branches of a round in one call"
    tools = [node for node in tree.walk() if node.author == "tool"]
    assert all(node.logprobs is None and node.meta == {"tool": "upper"} for node in tools)


def test_calls_are_limited_and_tokens_too() -> None:
    _, (leaf,) = extended(ToolEngine(Writer("a[b]c[d]e"), [SHOUT], max_calls=1))
    assert story(leaf)[2:] == [("policy", "c[d]e")]
    _, (leaf,) = extended(ToolEngine(Writer("a[b]c[d]e"), [SHOUT]), max_tokens=6)
    assert story(leaf) == [("policy", "a[b]"), ("tool", "(B)"), ("policy", "c[")]
    assert leaf.stop == "length"
    _, (leaf,) = extended(ToolEngine(Writer("a[b]c"), [SHOUT]), max_tokens=4)
    assert (story(leaf)[-1], leaf.stop) == (("tool", "(B)"), "length")


def test_who_asked_for_a_pause_gets_it() -> None:
    _, (leaf,) = extended(ToolEngine(Writer("a[b]c\nd"), [SHOUT]), stop=("\n",))
    assert (story(leaf)[-1], leaf.stop) == (("policy", "c\n"), "stop")
    _, (leaf,) = extended(ToolEngine(Writer("b]c"), [SHOUT]))
    assert story(leaf) == [("policy", "b]"), ("policy", "c")], "a mark that closes no call is no pause"


def test_several_tools_and_a_call_begun_before_the_prefix() -> None:
    class Lower(Upper):
        name = "lower"

        def call(self, text: str) -> str:
            return text.lower()

    engine = ToolEngine(Writer("<upper>b</upper><lower>C</lower>."), [Call(Upper()), Call(Lower())])
    _, (leaf,) = extended(engine)
    assert [text for author, text in story(leaf) if author == "tool"] == ["<result>B</result>", "<result>c</result>"]
    tree = Tree(Node("?", "prompt"))
    half = tree.root.add(Node("a[", token_ids=[1, 2], logprobs=[0.0, 0.0], stop="length"))
    ((node,),) = ToolEngine(Writer("a[b]c"), [SHOUT]).extend([half], 1, Sampling())
    assert node.children[0].text == "(B)"


def test_hints_are_inserted_and_belong_to_nobody() -> None:
    _, (leaf,) = extended(ToolEngine(Writer("wait, no"), [SHOUT], hint=Hint(" try a tool.", ("wait,",))))
    assert story(leaf) == [("policy", "wait,"), ("prompt", " try a tool."), ("policy", " no")]
    _, (leaf,) = extended(ToolEngine(Writer("no"), [], hint=Hint("Sure?", times=2)))
    assert story(leaf) == [("policy", "no"), ("prompt", "Sure?"), ("policy", ""), ("prompt", "Sure?"), ("policy", "")]
    inside = [node for node in leaf.path() if node.author == "policy"][:-1]
    assert all(node.stop is None and 0 not in (node.token_ids or ()) for node in inside)


def test_search_goes_on_from_the_end_of_the_chain() -> None:
    found = Sample(n=2, sampling=Sampling()).search(
        Forest([Tree(Node("?", "prompt"), "q")]), ToolEngine(Writer("a[b]c"), [SHOUT])
    )
    assert [leaf.text for leaf in found.forest.leaves()] == ["c", "c"]
    assert found.ledger.generated == 2 * 6


def test_a_local_model_s_chains_replay_and_mask() -> None:
    letters = "0123456789+-*/%() =\nabcdefghijklmnopqrstuvwxyz:"
    qwen = tiny("qwen2", train_tokenizer(["12 + 34 = 46\n"], kind="char", extra_chars=letters))
    engine = ToolEngine(LocalEngine(qwen), [Call(Calculator(), "=", "\n", "{}\n")], max_calls=2)
    forest = Forest([Tree(Node(f"{i} + 1 = ", "prompt"), str(i)) for i in range(4)])
    for tree, nodes in zip(forest, engine.extend([t.root for t in forest], 6, Sampling(40)), strict=True):
        for node in nodes:
            tree.root.add(node)
    tools = [node for node in forest.nodes() if node.author == "tool"]
    assert tools, "the seed must give some calls"
    encode(forest, qwen.tokenizer)
    packed = pack(list(forest))
    owners = {packed.nodes[int(i)].author for i in packed.target_segment}
    assert owners == {"policy"}
    logprobs = sampled_logprobs(packed)
    for leaf, total in zip(packed.leaves.tolist(), packed.leaf_sums(logprobs).tolist(), strict=True):
        expected = sum(sum(node.logprobs or ()) for node in packed.nodes[leaf].path())
        assert total == pytest.approx(expected, rel=1e-4)
    assert paths(packed).lengths.max() <= 40
    for leaf in forest.leaves():
        for before, after in pairwise(leaf.path()[1:]):
            assert not before.author == after.author == "tool"
    assert replay(qwen, forest, 1.0).max_abs < 1e-3
    assert torch.isfinite(logprobs).all()


def test_what_makes_no_sense_is_refused() -> None:
    writer = Writer("a")
    with pytest.raises(ConfigError, match="at least one tool"):
        ToolEngine(writer, [])
    with pytest.raises(ConfigError, match="different end marks"):
        ToolEngine(writer, [SHOUT, SHOUT])
    with pytest.raises(ConfigError, match=r"must have \{\} where it goes"):
        Call(Upper(), answer="!")
    assert isinstance(ToolEngine(writer, [SHOUT]), Engine)
    assert isinstance(Calculator(), Tool)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        *(("2**10", "1024"), ("-7//2", "-4"), ("(1+2)*3/4", "9/4"), ("1e3", "1000"), (" 12 ", "12")),
        *(
            ("9**9**9", "error: a number of more than 1000 digits"),
            ("2**0.5", "error: an exponent must be a whole number"),
        ),
        *(("(" * 300 + "1", "error: not an expression"), ("True", "error: only"), ("__import__('os')", "error: only")),
        *(("1+", "error: not an expression"), ("1" * 2000, "error: more than 1000 characters"), ("1%0", "error: div")),
    ],
)
def test_the_calculator_is_exact_and_safe(asked: str, answer: str) -> None:
    assert Calculator().call(asked).startswith(answer)


def test_an_online_run_trains_through_tools() -> None:
    letters = "0123456789+-*/%() =\nabcdefghijklmnopqrstuvwxyz:"
    model = tiny("gpt2", train_tokenizer(["12 + 34 = 46\n"], kind="char", extra_chars=letters))
    engine = ToolEngine(LocalEngine(model), [Call(Calculator(), "=", "\n", "{}\n")], max_calls=2)
    prompts = [Tree(Node(f"{i} + 1 = ", "prompt"), str(i), {"answer": str(i + 1)}) for i in range(3)]
    recipe = GRPO(n=6, max_tokens=24)
    forest, metrics = rollout(prompts, Actor(engine, NumericMatch("reward")), recipe, seed=3)
    assert any(node.author == "tool" for node in forest.nodes())
    assert 0 <= metrics["reward"] <= 1
    encode(forest, model.tokenizer)
    packed = pack(list(forest), targets=recipe.targets)
    assert not {packed.nodes[int(i)].author for i in packed.target_segment} - {"policy"}
