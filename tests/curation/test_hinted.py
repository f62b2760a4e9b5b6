"""Hint-RFT learns from hints that were needed and led to a tool; the hint is then the policy's own."""

import pytest

from espalier.curation.hinted import hinted_demonstrations
from espalier.engines import Hint, Sampling, ToolEngine
from espalier.scorers import ExactMatch
from espalier.trees import Forest, Node, Tree
from tests.engines.test_tools import SHOUT, Writer, story


def asked(*chains: list[tuple[str, str]], prompt: str = "?") -> Tree:
    """A problem whose answer is "yes", and responses as (author, text) segments."""
    tree = Tree(Node(prompt, "prompt"), id=prompt, meta={"answer": "yes"})
    for chain in chains:
        end = tree.root
        for author, text in chain:
            end = end.add(Node(text, author))  # type: ignore[arg-type]
        end.stop = "eos"
    return tree


def judged(*trees: Tree) -> Forest:
    return ExactMatch().score(Forest(trees))


WRONG = asked([("policy", "no")])
TOOL = [("policy", "[a]"), ("tool", "(A)"), ("policy", "#### yes")]


def test_a_hint_becomes_the_policys_words_and_the_answer_stays_the_tools():
    tree = Tree(Node("?", "prompt"), meta={"answer": "yes"})
    engine = ToolEngine(Writer("hm, [b]\n#### yes"), [SHOUT], hint=Hint("use a tool: ", ("hm,",)))
    tree.root.add(engine.extend([tree.root], 1, Sampling())[0][0])
    hinted = judged(tree)
    (found,) = hinted_demonstrations(judged(WRONG), hinted, "correct")
    said = [
        *(("policy", "hm,"), ("policy", "use a tool: "), ("policy", " [b]")),
        *(("tool", "(B)"), ("policy", "\n#### yes")),
    ]
    assert story(found.leaves()[0]) == said
    assert story(tree.leaves()[0])[1] == ("prompt", "use a tool: "), "the original stays"


def test_only_what_was_needed_and_used_a_tool_and_goes_on_is_kept():
    def kept(plain: Tree, *chains: list[tuple[str, str]]) -> int:
        found = hinted_demonstrations(judged(plain), judged(asked(*chains)), "correct")
        return sum(len(tree.leaves()) for tree in found)

    assert kept(WRONG, TOOL, TOOL) == 2
    assert kept(asked([("policy", "no")], [("policy", "#### yes")]), TOOL) == 0, "solved without"
    assert kept(WRONG, [("policy", "#### yes")]) == 0, "no tool"
    assert kept(WRONG, [*TOOL[:2], ("policy", "#### no")]) == 0, "wrong"
    assert kept(WRONG, [*TOOL[:2], *TOOL]) == 0, "in circles"
    assert kept(WRONG, [*TOOL[:2], ("policy", "[b]"), *TOOL[1:]]) == 1


def test_a_problem_that_was_never_judged_is_left_out_and_others_must_be_the_same():
    unknown = Tree(Node("?", "prompt"))
    unknown.root.add(Node("no", stop="eos"))
    assert list(hinted_demonstrations(judged(unknown), judged(asked(TOOL)), "correct")) == []
    with pytest.raises(ValueError, match="same prompts"):
        hinted_demonstrations(judged(WRONG), judged(asked(TOOL, prompt="!")), "correct")
