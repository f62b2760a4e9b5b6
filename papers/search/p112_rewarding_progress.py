"""Process rewards as progress: how much a step raises the chance that a *different* policy, the prover, succeeds."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from espalier import BestOfN, Forest, Node, Sampling, Score, StepBeam, Tree
from espalier.exact import ExactEngine, Language, Tabular, soft_values
from espalier.exact.places import place
from espalier.scorers import Verifier
from espalier.search import best as best_leaf
from papers import Less, Paper

ALPHA, BEST_OF, ERROR = 3.0, 16, 0.2
PAPER = Paper(
    id="P112",
    title="Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning",
    claim="step rewards that add a prover's advantage to the policy's own Q make reinforcement learning and beam "
    "search more efficient than outcomes alone; best-of-K of the policy is a better prover than the policy itself and "
    "than one that hardly ever fails; a prover weaker than the policy helps it too",
    measured="strings of 8 of 3 symbols in which a planted sub-sequence of 4 is to be found; success after 3 exact "
    "natural gradient steps on Q + 3 A; success of 100 searches with step beams of width 2 from 8 candidates by values "
    "with an error of 0.2, and of best-of-8, which samples as many tokens, by such a value of the whole string",
    rule=[
        Less("RL, outcome", "RL, prover: policy"),
        Less("RL, prover: policy", "RL, prover: best-of-16"),
        Less("RL, prover: sure", "RL, prover: best-of-16"),
        Less("strong RL, outcome", "strong RL, prover: weak"),
        Less("strong RL, success of the weak prover", "strong RL, success at the start"),
        Less("search, best-of-8", "search, beam by Q + A"),
        Less("search, beam by Q", "search, beam by Q + A"),
    ],
    seeds=10,
)


class Planted:
    """The task of the paper's didactic example: a string succeeds if it holds the hidden sequence, gaps allowed."""

    def __init__(self, seed: int) -> None:
        self.language = Language("abc", length=8, end=False)
        self.hidden = "".join(np.random.default_rng(seed).choice(list("abc"), 4))
        self.reward = torch.tensor([[float(self.found(text) == 4) for text in self.language.strings]]).double()
        texts = self.language.texts[: self.language.prefixes]
        self.progress = [self.found(text) for text in texts]

    def found(self, text: str) -> int:
        """How much of the hidden sequence the text holds."""
        count = 0
        for symbol in text:
            count += count < 4 and symbol == self.hidden[count]
        return count

    def policy(self, knows: float, seed: int, spread: float = 0.5) -> Tensor:
        """Next-token log-probs that find the next hidden symbol with a chance of about `knows`, [1, prefixes, 4]."""
        logits = spread * torch.randn(1, len(self.progress), 3, generator=torch.Generator().manual_seed(seed)).double()
        for text, count in enumerate(self.progress):
            if count < 4:
                logits[0, text, self.language.symbols.index(self.hidden[count])] += np.log(2 * knows / (1 - knows))
        return logits.log_softmax(-1)

    def q(self, following: Tensor) -> tuple[Tensor, Tensor]:
        """The chance of success after each prefix, and after each token that follows it."""
        values = soft_values(self.language, following, self.reward, torch.inf)
        return values.value, values.q

    def improved(self, following: Tensor, prover: Callable[[Tensor], Tensor]) -> float:
        """Success after three natural gradient steps on Q + alpha A."""
        for _ in range(3):
            following = (following + 0.3 * (self.q(following)[1] + ALPHA * prover(following))).log_softmax(-1)
        return float(self.q(following)[0][0, 0])

    def advantage(self, following: Tensor, of: Callable[[Tensor], Tensor] = lambda p: p) -> Tensor:
        """The prover's A after each token; `of` says how it does where the policy succeeds with probability p."""
        value, q = self.q(following)
        return of(q) - of(value)[..., None]


def best(p: Tensor) -> Tensor:
    """How often one of K tries of a policy succeeds."""
    return 1 - (1 - p) ** BEST_OF


class Progress(Verifier):
    """Q + alpha A of each step, or Q alone, from values that are each a little wrong."""

    def __init__(self, task: Planted, following: Tensor, alpha: float, seed: int) -> None:
        super().__init__("progress")
        value = torch.cat([task.q(following)[0], task.reward], -1)[0]
        noise = torch.randn(2, len(value), generator=torch.Generator().manual_seed(seed)).double()
        self.task, self.alpha = task, alpha
        self.own, self.prover = value + ERROR * noise[0], best(value) + ERROR * noise[1]

    def nodes(self, tree: Tree) -> Iterator[Node]:
        return (node for node in tree.walk() if node.parent is not None)

    def judge(self, node: Node, tree: Tree) -> Score:
        here, before = (place(self.task.language, at).text for at in (node, node.parent or node))
        return Score(float(self.own[here] + self.alpha * (self.prover[here] - self.prover[before])))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    task = Planted(seed)
    base, strong = task.policy(0.1, seed), task.policy(0.4, seed)
    sure, weak = (task.advantage(task.policy(knows, seed + 1)) for knows in (0.9999, 0.2))
    figures = {
        "RL, outcome": task.improved(base, torch.zeros_like),
        "RL, prover: policy": task.improved(base, task.advantage),
        "RL, prover: best-of-16": task.improved(base, lambda now: task.advantage(now, best)),
        "RL, prover: sure": task.improved(base, lambda now: sure),
        "strong RL, success at the start": float(task.q(strong)[0][0, 0]),
        "strong RL, success of the weak prover": float(task.q(task.policy(0.2, seed + 1))[0][0, 0]),
        "strong RL, outcome": task.improved(strong, torch.zeros_like),
        "strong RL, prover: weak": task.improved(strong, lambda now: weak),
    }
    policy, step = task.policy(0.12, seed), Sampling(max_tokens=1, seed=seed)
    beam = StepBeam(width=2, expand=4, sampling=step, score="progress", stop="", max_steps=8)
    for name, strategy, alpha in (
        ("best-of-8", BestOfN(8, Sampling(max_tokens=8, seed=seed), "progress"), 0.0),
        ("beam by Q", beam, 0.0),
        ("beam by Q + A", beam, ALPHA),
    ):
        problems = Forest([Tree(Node(task.language.prompts[0], "prompt")) for _ in range(10 if smoke else 100)])
        found = strategy.search(
            problems, ExactEngine(Tabular(task.language, policy)), Progress(task, policy, alpha, seed)
        )
        ends = [[leaf for leaf in tree.leaves() if len(leaf.response()) == 8] for tree in found.forest]
        answers = [leaf.response() for leaves in ends if (leaf := best_leaf(leaves, "progress")) is not None]
        figures[f"search, {name}"] = sum(task.found(answer) == 4 for answer in answers) / len(problems)
    return figures
