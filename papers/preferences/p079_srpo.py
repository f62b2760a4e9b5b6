"""SRPO learns to write and to revise, the same from anyone's pairs; what IPO and DPO learn depends on the writer."""

import torch
from torch import Tensor

from espalier.exact import (
    Language,
    Pairs,
    Tabular,
    bradley_terry,
    descend,
    random_preference,
    random_reward,
    total_variation,
    win_rate,
)
from espalier.losses.preference import dpo, ipo, srpo
from papers import Above, Below, Less, Paper

PAPER = Paper(
    id="P079",
    title="Self-Improving Robust Preference Optimization",
    claim="SRPO's offline loss has the optimum of its min-max game whoever wrote the pairs, while those "
    "of IPO and DPO move with the writer; and its reviser betters the texts that it is shown",
    measured="exact descent on pairs of two different writers, preferences with cycles: distance of the policy to the "
    "closed form, distance between the policies of the two writers, how often a revision beats what it revises, "
    "win rate over the reference after revisions of its own texts (no rule: the exact writer leaves little to revise)",
    rule=[
        Below("distance", 1e-3),
        Below("shift, SRPO", 1e-3),
        Above("shift, IPO", 0.02),
        Less("shift, SRPO", "shift, DPO"),
        Above("revision wins, reference's text", 0.5),
        Above("revision wins, own text", 0.5),
    ],
    seeds=40,
    tried="Revision of the policy's own texts was not settled by 12 seeds: it won 0.524 [0.464, 0.584]. That repeated "
    "revision raises the win rate over the reference, as it does in the paper's language models, is not so at the "
    "exact optimum: over 40 seeds the mean is 0.580 as written and 0.577 after five revisions.",
)
BETA = 0.2
WRITE, REVISE = slice(0, 1), slice(1, None)  # the prompt "a" asks for a string, "bx" for a better one than "x"


def optimum(reference: Tensor, preference: Tensor) -> Tensor:
    """The reviser tilts the reference by the chance to win; the writer avoids what gains most by that."""
    tilted = reference[REVISE] + preference[0].mT / BETA  # in row i: that j beats i
    writer = (reference[WRITE] - tilted.logsumexp(-1)).log_softmax(-1)
    return torch.cat([writer, tilted.log_softmax(-1)])


def measure(seed: int, smoke: bool) -> dict[str, float]:
    arms = "abc" if smoke else "abcdef"
    both = Language(arms, length=1, end=False, prompts=("a", *("b" + arm for arm in arms)))
    alone = Language(arms, length=1, end=False)
    reference = Tabular.random(both, seed)().detach()
    logits = bradley_terry(random_reward(alone, seed + 100)).logit() + random_preference(alone, seed + 200).logit()
    preference = logits.sigmoid()

    def learned(pairs: Pairs) -> dict[str, Tensor]:
        policy = Tabular.of(both, reference)
        c, r = pairs.chosen, pairs.rejected

        def loss() -> Tensor:
            ratio = policy() - reference
            shown = ratio[REVISE]
            revision = torch.stack([shown[c, c], shown[c, r], shown[r, c], shown[r, r]], -1).unflatten(-1, (2, 2))
            return pairs.mean(srpo(*pairs.split(ratio[WRITE]), revision, 1.0, BETA, alpha=0.5))

        descend(policy, loss)
        found = {"SRPO": policy().detach()}
        for name, one in (("IPO", ipo), ("DPO", dpo)):
            writer = Tabular.of(alone, reference[WRITE])
            descend(writer, lambda: pairs.mean(one(*pairs.split(writer() - reference[WRITE]), BETA)))  # noqa: B023
            found[name] = writer().detach()
        return found

    writers = [Tabular.random(alone, seed + shift)().detach() for shift in (300, 400)]
    first, second = (learned(Pairs.all(writer, preference)) for writer in writers)
    figures = {f"shift, {name}": float(total_variation(first[name], second[name]).max()) for name in first}
    goal, law = optimum(reference, preference), first["SRPO"]
    figures["distance"] = float(torch.stack([total_variation(one["SRPO"], goal) for one in (first, second)]).max())
    text, reviser = law[WRITE], law[REVISE].exp()
    for name, shown in (("reference's", reference[WRITE]), ("own", text)):
        wins = (reviser * preference[0].mT).sum(-1)  # of the revision over each text shown
        figures[f"revision wins, {name} text"] = float(shown[0].exp() @ wins)
    for revisions in range(6):
        figures[f"win rate, revisions: {revisions}"] = float(win_rate(text, reference[WRITE], preference))
        text = (text.exp() @ reviser).log()
    return figures
