"""An exact language as trees: every string is a leaf, so that packed models, scorers, views and recipes run on it."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from espalier.exact.language import Language
from espalier.exact.policies import Policy
from espalier.trees import Forest, Node, Tree


def forest(policy: Policy) -> Forest:
    """The prefix tree of each prompt, with a node for each token and the policy's log-prob on it.

    A leaf's `meta["string"]` is the number of the string that it completes. Where a string ends early its leaf has the
    end token and no text.
    """
    language, following = policy.language, policy.next_logprobs().detach().tolist()
    trees = []
    for number, prompt in enumerate(language.prompts):
        texts = [Node(prompt, "prompt", token_ids=[language.symbols.index(symbol) for symbol in prompt])]
        for text in range(1, language.starts[-1]):
            above, token = divmod(text - 1, len(language.symbols))
            child = Node(language.symbols[token], token_ids=[token], logprobs=[following[number][above][token]])
            texts.append(texts[above].add(child))
        for string in range(len(language.strings)):
            leaf = texts[language.first + string]
            if language.first + string < language.prefixes:
                end = len(language.symbols)
                leaf = leaf.add(Node("", token_ids=[end], logprobs=[following[number][string][end]]))
                leaf.stop = "eos"
            else:
                leaf.stop = "length"
            leaf.meta["string"] = string
        trees.append(Tree(texts[0], id=prompt))
    return Forest(trees)


def response(language: Language, string: int, logprobs: Sequence[float] | None = None) -> Node:
    """One string as one node, to be hung on a prompt: `tree.root.add(response(language, 3))`."""
    ids = language.ids(string)
    return Node(
        language.strings[string],
        token_ids=ids,
        logprobs=None if logprobs is None else list(logprobs),
        stop="eos" if ids[-1] == len(language.symbols) else "length",
        meta={"string": string},
    )


def responses(language: Language, strings: Sequence[Sequence[int]], policy: Policy | None = None) -> Forest:
    """A tree for each prompt with these strings below it, one node each: groups, pairs, demonstrations.

    Args:
        strings: for each prompt, the numbers of its strings.
        policy: who "sampled" them: its log-probs go on the nodes.
    """
    per_token: Float[Tensor, "prompts strings length"] | None = None
    if policy is not None:
        per_token = policy.token_logprobs().detach()
    trees = []
    for number, prompt in enumerate(language.prompts):
        root = Node(prompt, "prompt", token_ids=[language.symbols.index(symbol) for symbol in prompt])
        for string in strings[number]:
            size = len(language.ids(string))
            root.add(
                response(language, string, None if per_token is None else per_token[number, string, :size].tolist())
            )
        trees.append(Tree(root, id=prompt))
    return Forest(trees)
