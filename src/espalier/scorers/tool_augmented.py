"""A reward model that checks before it judges: it writes a critique with tool calls, reads their answers, then scores.

Themis, Li et al. 2024 (arXiv 2310.01045), section 2.2: the reward r(x, y, c) is read after the prompt, the response and
a trace c of thoughts, tool calls, the tools' answers and a rationale. It is trained (equation 2) on the ranking loss of
that reward and, to learn the calls, on the likelihood of the trace. `critiqued` makes the trees for both: `Reward`
learns from them which trace goes with the better response, `SFT` to write such traces; the answers of tools are in no
loss (their beta = 0).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from espalier.engines.base import Engine, Sampling, unless_full
from espalier.errors import ConfigError, ModelError
from espalier.scorers.answers import final_number
from espalier.scorers.base import Scorer
from espalier.scorers.leaves import Verifier
from espalier.trees import Forest, Ledger, Node, Score, Tree

QUESTION = "\n\nCheck this response, with the tools where they help. Then rate it from 0 to 10, after ####.\n"
_GREEDY = Sampling(temperature=0.0)


class Rating(Verifier):
    """The number that the policy marks as its answer since it was last asked: see `marked_answer`; "#### 7/10" is 0.7.

    A number that is not marked is part of what was said, and the score is missing.
    """

    def __init__(self, name: str = "rating") -> None:
        super().__init__(name)

    def judge(self, node: Node, tree: Tree) -> Score:
        number = final_number(_since_asked(node, ("policy",)), marked_only=True)
        if number is None:
            raise ValueError(f"the critique rates nothing: {node.text[-60:]!r}")
        return Score(float(number))


class ToolAugmented:
    """Judges each response by what a critic writes below it: the mean over `n` critiques, with its standard error.

    The critic is an engine, mostly a `ToolEngine`. It reads the prompt, the response and a question, and goes on from
    there in a copy of the tree; the texts, with the tools' answers, are kept in the response's `meta["critiques"]`. A
    response that leaves no room for a critique, or none of whose critiques has a score, has a missing score.

    Attributes:
        engine: the critic. An engine of its own, so that a search keeps the critic's tokens apart from the policy's:
            here they all count as scored.
        scorer: judges the end of each critique, such as a `RewardScorer`; by default `Rating`.
        question: what is put between a response and its critique.
        sampling: of critiques; greedy by default. A stop string ends a critique.
        n: critiques of each response.
        name: of the score.
        spent: tokens run through the critic's model and the scorer's, `score` calls and seconds.

    Raises:
        ConfigError: n < 1, or several critiques at temperature 0, which would all be the same.
    """

    def __init__(
        self,
        engine: Engine,
        scorer: Scorer | None = None,
        *,
        question: str = QUESTION,
        sampling: Sampling = _GREEDY,
        n: int = 1,
        name: str = "reward",
    ) -> None:
        if n < 1:
            raise ConfigError(f"n must be at least 1, found {n}")
        if n > 1 and sampling.temperature == 0:
            raise ConfigError(f"{n} critiques at temperature 0 are all the same; give a sampling with a temperature")
        self.engine, self.scorer = engine, Rating() if scorer is None else scorer
        self.question, self.sampling, self.n, self.name = question, sampling, n, name
        self.spent = Ledger()

    def score(self, forest: Forest) -> Forest:
        """Score in place the responses that have no score of this name yet; trees of a stored forest are read."""
        start, before = time.perf_counter(), self.engine.spent + self.scorer.spent
        forest = forest.load()
        found = self._criticise(forest, lambda leaf: self.name not in leaf.scores)
        self.scorer.score(Forest([each.tree for each in found]))
        for each in found:
            for leaf, ends in each.critiques.items():
                leaf.scores[self.name] = self._mean(ends)
                leaf.meta["critiques"] = [_since_asked(end, ("policy", "tool")) for end in ends]
        used = self.engine.spent + self.scorer.spent - before
        tokens = used.generated + used.prefilled + used.scored
        self.spent += Ledger(scored=tokens, calls=1, seconds=time.perf_counter() - start)
        return forest

    def critiqued(self, forest: Forest) -> Forest:
        """Trees to train a critic and its reward from: new ones, in which the critiques are the responses.

        What was a response is a part of the prompt there, and each critique has the scores of the response that it is
        about.
        """
        found = self._criticise(forest, lambda leaf: True)
        for each in found:
            for leaf, ends in each.critiques.items():
                for end in ends:
                    end.scores = dict(leaf.scores)
        return Forest([each.tree for each in found])

    def _criticise(self, forest: Iterable[Tree], wanted: Callable[[Node], bool]) -> list[_Criticised]:
        found, asked = list[_Criticised](), list[tuple[_Criticised, Node, Node]]()
        for tree in forest:
            leaves = {leaf for leaf in tree.leaves() if leaf.stop != "stop" and wanted(leaf)}
            if leaves:
                criticised, questions = _asked(tree, leaves, self.question)
                found.append(criticised)
                asked += [(criticised, leaf, question) for leaf, question in questions.items()]
        prefixes = [question for _, _, question in asked]
        try:
            grown = unless_full(prefixes, self._ask)
        except ModelError:  # the trees hold tokens of another tokenizer than the critic's
            for node in Forest([each.tree for each in found]).nodes():
                node.token_ids = None
            grown = unless_full(prefixes, self._ask)
        for (criticised, leaf, question), nodes in zip(asked, grown, strict=True):
            criticised.critiques[leaf] = [_end(question.add(node)) for node in nodes]
            if not nodes:
                _prune(question)
        return found

    def _ask(self, prefixes: Sequence[Node]) -> list[list[Node]]:
        return self.engine.extend(prefixes, self.n, self.sampling)

    def _mean(self, ends: list[Node]) -> Score:
        if not ends:
            return Score.absent("the response leaves the critic's context no room for a critique")
        scores = [end.scores.get(self.scorer.name) for end in ends]
        known = [score.value for score in scores if score is not None and score.value is not None]
        if not known:
            reason = scores[0].missing if scores[0] is not None else None
            return Score.absent(f"no critique has a score: {reason or f'{self.scorer.name!r} judges none'}")
        spread = statistics.stdev(known) / len(known) ** 0.5 if len(known) > 1 else None
        return Score(statistics.fmean(known), spread)


@dataclass(frozen=True, slots=True)
class _Criticised:
    """A copy of a tree with critiques, and for the end of each response in the original the ends of its critiques."""

    tree: Tree
    critiques: dict[Node, list[Node]]


def _asked(tree: Tree, leaves: set[Node], question: str) -> tuple[_Criticised, dict[Node, Node]]:
    """A copy in which the question follows these responses, and the question of each."""
    kept = {node for leaf in leaves for node in leaf.path()}
    copy = tree.copy(keep=kept.__contains__)
    questions = {}
    for node, mine in zip([node for node in tree.walk() if node in kept], list(copy.walk()), strict=True):
        if mine.stop == "eos" and mine.token_ids:
            mine.token_ids.pop()  # no end of text in the middle
        mine.author, mine.logprobs, mine.stop = "prompt", None, None
        mine.streams.clear()
        if node in leaves:
            questions[node] = mine.add(Node(question, "prompt"))
    return _Criticised(copy, {}), questions


def _prune(node: Node) -> None:
    """Cut off a branch from its end up to where others grow."""
    while node.parent is not None and not node.children:
        parent = node.parent
        node.detach()
        node = parent


def _end(node: Node) -> Node:
    """The end of a critique that begins here. Where it stopped at a stop string it is over."""
    while node.children:
        [node] = node.children
    if node.stop == "stop":
        node.stop = None
    return node


def _since_asked(node: Node, authors: tuple[str, ...]) -> str:
    """What these authors wrote on the way to a node since the last segment by "prompt"."""
    parts: list[str] = []
    for step in reversed(node.path()):
        if step.author == "prompt":
            break
        if step.author in authors:
            parts.append(step.text)
    return "".join(reversed(parts))
