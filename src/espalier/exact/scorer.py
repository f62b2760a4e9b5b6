"""A scorer that knows: the exact reward of each string, and the exact value of each prefix."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor

from espalier.exact.language import Language
from espalier.exact.places import place
from espalier.scorers.leaves import Verifier
from espalier.trees import Node, Score, Tree


class ExactScorer(Verifier):
    """Looks every node up.

    Args:
        language: that the trees are of.
        name: of the score.
        strings: the score of a complete string.
        prefixes: the score of a text that can go on, such as `soft_values(...).value`. None: only complete strings
            are judged.
    """

    def __init__(
        self,
        language: Language,
        name: str,
        strings: Float[Tensor, "prompts strings"],
        prefixes: Float[Tensor, "prompts prefixes"] | None = None,
    ) -> None:
        super().__init__(name)
        self.language = language
        self.strings = strings.tolist()
        self.prefixes = None if prefixes is None else prefixes.tolist()

    def nodes(self, tree: Tree) -> Iterator[Node]:
        """Every new end of a complete string; with values of prefixes, every new node below the prompt."""
        below = (node for node in tree.walk() if node is not tree.root and self.name not in node.scores)
        # What has been continued is not complete: looking it up again at each call would make long searches slow.
        return (
            node
            for node in below
            if self.prefixes or (not node.children and place(self.language, node).string is not None)
        )

    def judge(self, node: Node, tree: Tree) -> Score:
        prompt, text, string = place(self.language, node)
        if string is not None:
            return Score(self.strings[prompt][string])
        assert self.prefixes is not None
        return Score(self.prefixes[prompt][text])
