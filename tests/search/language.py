"""An explicit language: its engine and scorer are what a user's own look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from espalier.engines.base import Sampling
from espalier.errors import ContextLengthError
from espalier.trees import Forest, Ledger, Node, Score, Tree

EOS = 0


@dataclass
class CharEngine:
    """Samples characters from `chances(text so far)`; the character "" ends the text. A token is a code point."""

    chances: Callable[[str], Mapping[str, float]]
    context: int = 1000
    spent: Ledger = field(default_factory=Ledger)
    calls: list[tuple[int, int]] = field(default_factory=list)  # (prefixes, seed)

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        if any(len(prefix.full_text()) >= self.context for prefix in prefixes):
            raise ContextLengthError("no room for a token")
        self.calls.append((len(prefixes), sampling.seed))
        rng = np.random.default_rng(sampling.seed)
        grown = [[self._continue(prefix, sampling, rng) for _ in range(n)] for prefix in prefixes]
        self.spent += Ledger(
            generated=sum(len(node.token_ids or ()) for nodes in grown for node in nodes),
            prefilled=sum(len(prefix.full_text()) for prefix in prefixes),
            calls=1,
        )
        return grown

    def _continue(self, prefix: Node, sampling: Sampling, rng: np.random.Generator) -> Node:
        start, node = prefix.full_text(), Node("", token_ids=[], logprobs=[], stop="length")
        for _ in range(min(sampling.max_tokens, self.context - len(start))):
            chances = self.chances(start + node.text)
            drawn = max(chances, key=chances.__getitem__)
            if sampling.temperature > 0:
                drawn = list(chances)[rng.choice(len(chances), p=list(chances.values()))]
            node.text += drawn
            node.token_ids.append(ord(drawn) if drawn else EOS)
            node.logprobs.append(float(np.log(chances[drawn])))
            if not drawn or node.text.endswith(sampling.stop or ("\0",)):
                node.stop = "stop" if drawn else "eos"
                break
        return node


@dataclass
class TextScorer:
    """Scores every node of a response by a function of the text after the prompt; None is missing."""

    judge: Callable[[str], float | None]
    name: str = "value"
    spent: Ledger = field(default_factory=Ledger)

    def score(self, forest: Forest) -> Forest:
        for node in forest.nodes():
            if node.parent is not None and self.name not in node.scores:
                value = self.judge(node.response())
                node.scores[self.name] = Score.absent("cannot tell") if value is None else Score(value)
                self.spent += Ledger(scored=sum(len(step.token_ids or ()) for step in node.path()))
        self.spent += Ledger(calls=1)
        return forest


def digits(text: str) -> dict[str, float]:
    """One digit, each as likely as the others, then the end."""
    return {"": 1.0} if text[-1].isdigit() else dict.fromkeys("0123456789", 0.1)


def three_steps(text: str) -> dict[str, float]:
    """Three lines of one letter each, a, b, c or d, then the end: 64 responses."""
    if text[-1].isalpha():
        return {"\n": 1.0}
    return {"": 1.0} if text.count("\n") == 3 else dict.fromkeys("abcd", 0.25)


def problems(n: int) -> Forest:
    return Forest([Tree(Node(f"{i}?", "prompt"), id=str(i)) for i in range(n)])


def rewards() -> dict[str, float]:
    """A reward for each of the 64 responses of `three_steps`, no two alike."""
    responses = ["".join(f"{letter}\n" for letter in letters) for letters in product("abcd", repeat=3)]
    return dict(zip(responses, np.random.default_rng(0).permutation(64) / 64, strict=True))


def best_reachable(response: str) -> float:
    """The exact value of a state when the best is done from there on."""
    return max(reward for whole, reward in rewards().items() if whole.startswith(response))


def last(text: str) -> str | None:
    return text[-1] if text else None
