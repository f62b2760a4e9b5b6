"""What every preference run reports of its pairs; the formulas are those of `espalier.losses.preference.diagnostics`.

All but two numbers come from what the update's own pass computes. The likeliest token at each place (`top=1`) is one
more look at logits that are there already. The unseen responses are a pass of their own, without gradients, over one
response in eight prompts: about a thirtieth of the step's work.

An *unseen* response is fluent and of the right kind, but no pair puts it under its prompt: the chosen response of the
step's next prompt. (Ren and Sutherland 2024, arXiv 2407.10490, watch such responses beside chosen and rejected.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from espalier.losses import Term
from espalier.losses.preference.core import Pairs
from espalier.losses.preference.diagnostics import displaced, ideally_ranked, ranked
from espalier.models import Packed
from espalier.training.recipe import Frozen, report
from espalier.trees import Node, Tree
from espalier.trees.views import pairs

SLACK = 0.1
"""Nats of a whole response that count as no change: rounding, in bf16 too, is no displacement."""

WATCHED = 8
"""One in so many prompts of a step is looked at in a pass of its own."""


def of_pairs(found: Mapping[str, Pairs], agreement: Pairs, beta: float | None) -> dict[str, Term]:
    """The numbers of each pair, reported and not descended.

    Args:
        found: `chosen_*` and `rejected_*` of `logprob`, `tokens`, `best` (the log-prob of the greedy choices along it),
            and, where there is a reference, `logratio` and `squares` (summed over tokens, of the tokens' log-ratios).
        agreement: the share of raters who prefer the chosen response.
        beta: of the loss, where it has one.
    """
    sides = {name: value.detach() for name, value in found.items()}
    measured = {
        "ranking_accuracy": ranked(sides["chosen_logprob"], sides["rejected_logprob"]).float(),
        "chosen_mean_logprob": sides["chosen_logprob"] / sides["chosen_tokens"],
        "rejected_mean_logprob": sides["rejected_logprob"] / sides["rejected_tokens"],
        "argmax_mean_logprob": sides["chosen_best"] / sides["chosen_tokens"],
        "chosen_length": sides["chosen_tokens"],
        "rejected_length": sides["rejected_tokens"],
    }
    if "chosen_logratio" in sides:
        chosen, rejected = sides["chosen_logratio"], sides["rejected_logratio"]
        tokens = sides["chosen_tokens"] + sides["rejected_tokens"]
        measured |= {
            "chosen_logratio": chosen,
            "rejected_logratio": rejected,
            "displaced": displaced(chosen + SLACK, rejected + SLACK).float(),
            "kl_pairs": (sides["chosen_squares"] + sides["rejected_squares"]) / 2 / tokens,
        }
        if beta is not None:
            ours, theirs = sides["chosen_logprob"] - chosen, sides["rejected_logprob"] - rejected
            measured["ranking_bound"] = ideally_ranked(ours, theirs, agreement, beta).float()
    return {name: report(values, "pair") for name, values in measured.items()}


def label_agreement(chosen: Sequence[Node], rejected: Sequence[Node], by: str) -> Pairs:
    """The share of raters who prefer the chosen response, where the labels say it.

    Two scores that lie between 0 and 1 and add up to 1 are shares. All other labels are taken for certain: 1.
    """
    shares = []
    for one, other in zip(chosen, rejected, strict=True):
        high, low = one.value(by), other.value(by)
        assert high is not None
        assert low is not None
        shares.append(high if low >= 0 and abs(high + low - 1) < 1e-6 else 1.0)
    return torch.tensor(shares)


def unseen(trees: Sequence[Tree], by: str, margin: float) -> list[Tree]:
    """One prompt in `WATCHED`, each with the chosen response of the next of the step's prompts that has a pair."""
    some = [(tree, found[0].chosen) for tree in trees if (found := pairs(tree, by, margin))]
    made = []
    for place in range(0, len(some), WATCHED):
        tree, other = some[place][0], some[(place + 1) % len(some)][1]
        own = {leaf.response() for leaf in tree.leaves()}
        if other.response() in own or other.root().text == tree.prompt:
            continue
        strange = tree.copy(keep=lambda node: False)
        end = strange.root
        for segment in other.path()[1:]:
            end = end.add(Node(segment.text, segment.author, segment.token_ids, stop=segment.stop))
        made.append(strange)
    return made


def mean_over_tokens(
    trees: Sequence[Tree], packs: Callable[[Sequence[Tree]], Iterable[Packed]], of: Callable[[Packed], Tensor]
) -> float | None:
    """The mean over all target tokens of what `of` says of each; None where there is no tree."""
    total, tokens = 0.0, 0
    for packed in packs(trees):
        total += float(of(packed).sum(dtype=torch.float64))
        tokens += len(packed.targets)
    return total / tokens if tokens else None


def unseen_logprob(
    trees: Sequence[Tree], frozen: Frozen, packs: Callable[[Sequence[Tree]], Iterable[Packed]]
) -> dict[str, float]:
    """The metric of unseen responses; empty where there is none."""

    def logprobs(packed: Packed) -> Tensor:
        found = frozen.forward(packed).logprobs
        assert found is not None
        return found

    mean = mean_over_tokens(trees, packs, logprobs)
    return {} if mean is None else {"unseen_mean_logprob": mean}
