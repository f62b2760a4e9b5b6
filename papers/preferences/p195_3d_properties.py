"""3D properties of DPO: a drastic drop of the rejected, degradation of the chosen, dispersion onto the unseen."""

import torch
from torch import Tensor

from espalier.losses.preference import asymmetric_dpo, rpo
from papers import Above, Less, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

PAPER = Paper(
    id="P195",
    title="3D-Properties: Identifying Challenges in DPO and Charting a Path Forward",
    claim="under DPO the rejected responses fall drastically, the chosen ones are unlearned too, and mass goes to "
    "responses that no pair speaks of; less so with pairs that the policy itself would give, with a smaller beta for "
    "the rejected, or with the likelihood of the chosen added",
    measured="policies with shared features, 12 prompts of 40 responses, 100 steps of DPO, asymmetric DPO and DPO with "
    "likelihood; two pairs a prompt, of another writer and kept (off-policy), or drawn anew from the policy at each "
    "step: fall of the rejected log-prob, fall of the chosen one from its best, rise from its least of the mass of "
    "responses that were in no pair so far; of pairs drawn anew, the last step's",
    rule=[
        Above("off-policy: fall of rejected", 5.0),
        Above("off-policy: fall of chosen", 0.5),
        Above("off-policy: rise of the unseen", 0.0),
        Less("on-policy: fall of rejected", "off-policy: fall of rejected"),
        Less("on-policy: fall of chosen", "off-policy: fall of chosen"),
        Less("on-policy: rise of the unseen", "off-policy: rise of the unseen"),
        *(
            Less(f"off-policy, {fix}: {what}", f"off-policy: {what}")
            for fix in ("asymmetric", "likelihood")
            for what in ("fall of chosen", "rise of the unseen")
        ),
    ],
    seeds=20,
    tried="First the paper's own toy, one-hot prompts into a small MLP, in two settings: on- and off-policy "
    "pairs could not be told apart, and the mass of unseen responses fell. Then policies with shared "
    "features, with on-policy pairs drawn anew at each step. On- and off-policy figures are of different "
    "pairs.",
)
BETA = 0.1


def measure(seed: int, smoke: bool) -> dict[str, float]:
    features, reference, reward = world(seed, dimensions=16, told=0.5)
    writer = world(seed + 500, dimensions=16, told=0.5).reference
    kept, figures = drawn((writer + reward).log_softmax(-1), reward, 2, seed), {}
    for name in ("off-policy", "off-policy, asymmetric", "off-policy, likelihood", "on-policy"):
        policy, pairs = Shared(features, reference), kept
        unseen, chosen, rejected, outside = torch.ones_like(reference), [], [], []

        def loss(policy: Shared = policy, name: str = name) -> Tensor:
            now = policy()
            ratio = of(now - reference, pairs)  # noqa: B023
            if name.endswith("asymmetric"):
                return asymmetric_dpo(*ratio, BETA, BETA / 5).mean()
            added = 0.5 if name.endswith("likelihood") else 0.0
            return rpo(*ratio, of(now, pairs)[0], BETA, added).mean()  # noqa: B023

        for number in steps(policy, loss, 20 if smoke else 100, lr=20.0):
            law = policy().detach()
            if name == "on-policy":
                pairs = drawn(law, reward, 2, 1000 * seed + number)
            for side in pairs:
                unseen.scatter_(1, side, 0.0)
            values = of(law, pairs)
            chosen.append(float(values[0].mean()))
            rejected.append(float(values[1].mean()))
            outside.append(float((law.exp() * unseen).sum(-1).mean()))
        figures[f"{name}: fall of rejected"] = rejected[0] - rejected[-1]
        figures[f"{name}: fall of chosen"] = max(chosen) - chosen[-1]
        figures[f"{name}: rise of the unseen"] = outside[-1] - min(outside)
    return figures
