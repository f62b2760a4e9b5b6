"""A stepwise outcome model, taught if the policy can still get there, sees dead ends that an outcome model does not."""

import torch
from torch import Tensor

from espalier import Forest, Sampling, Tree
from espalier.curation.labels import Completer, Sorm, drive
from espalier.exact import ExactEngine, ExactScorer, Language, Tabular, place, random_reward, responses
from papers import Less, Paper

PAPER = Paper(
    id="P132",
    title="GLoRe: When, Where, and How to Improve LLM Reasoning via Global and Local Refinements",
    claim="a stepwise outcome model (positive where some of K completions succeeds) detects wrong steps better than an "
    "outcome model, which forecasts the policy's own success and so takes hard for wrong; it needs no human labels",
    measured="strings of 7 of two symbols, of which 8 % are right and a weak policy finds few; a step is wrong if no "
    "right string is left behind it. Two tables learned from the same number of samples: mean outcome of sampled "
    "strings through a prefix, against SORM labels (K = 8); balanced accuracy of step detection on fresh responses",
    rule=[
        Less("accuracy, outcome model", "accuracy, stepwise outcome model"),
        Less("accuracy, one half", "accuracy, stepwise outcome model"),
    ],
    seeds=8,
)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("ab", length=5 if smoke else 7, end=False)
    policy = Tabular.random(language, seed)
    ends = random_reward(language, seed + 100)
    right = (ends > ends.quantile(0.92)).double()
    alive = _alive(language, right[0] > 0)
    law, generator = policy()[0].detach().exp(), torch.Generator().manual_seed(seed)

    def trees(n: int) -> list[Tree]:
        drawn = torch.multinomial(law, n, replacement=True, generator=generator).tolist()
        [tree] = responses(language, [drawn])
        found = []
        for leaf in tree.leaves():
            alone = Tree(tree.root.__class__(tree.prompt, "prompt"))
            at = alone.root
            for symbol in leaf.text:
                at = at.add(tree.root.__class__(symbol))
            at.stop = "length"
            found.append(alone)
        return found

    scorer = ExactScorer(language, "right", right)
    completer = Completer(ExactEngine(policy), scorer, 8, Sampling(max_tokens=language.length, seed=seed))
    labelled = trees(20 if smoke else 60)
    drive(labelled, Sorm("right"), completer)
    # As many whole samples for the outcome model as the labels cost, the responses themselves included.
    outcomes = scorer.score(Forest(trees(len(labelled) + completer.completions)))
    tables = {
        "stepwise outcome model": _table(language, labelled, "label"),
        "outcome model": _table(language, list(outcomes), "right"),
    }
    fresh = [place(language, node).text for tree in trees(200) for node in tree.walk() if node.parent and node.children]
    truth = alive[fresh]
    figures = {"accuracy, one half": 0.5}
    for name, table in tables.items():
        says = table[fresh] > 0.5
        sides = [float((says == truth)[truth == side].double().mean()) for side in (True, False)]
        figures[f"accuracy, {name}"] = sum(sides) / 2
    return figures


def _alive(language: Language, right: Tensor) -> Tensor:
    """For each prefix, whether a right string begins with it."""
    alive = torch.zeros(language.prefixes, dtype=torch.bool)
    before, _, there = language.paths
    alive[before[right][there[right]]] = True
    return alive


def _table(language: Language, trees: list[Tree], name: str) -> Tensor:
    """For each prefix the mean label of the steps that end there; of a response without step labels, its outcome."""
    total, count = torch.zeros(2, language.prefixes)
    for tree in trees:
        for node in tree.walk():
            text = place(language, node).text
            value = (node if name in node.scores else tree.leaves()[0]).value(name)
            if node.parent and text < language.prefixes and value is not None:
                total[text] += value
                count[text] += 1
    return torch.where(count > 0, total / count.clamp(min=1), total.sum() / count.sum())
