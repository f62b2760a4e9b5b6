"""DPO-Shift: the less a rejected response counts, the more of the chosen one's likelihood is kept."""

import torch

from espalier.exact import bradley_terry, win_rate
from espalier.losses.preference import diagnostics, dpo_shift, margin
from papers import Above, Less, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

PAPER = Paper(
    id="P377",
    title="DPO-Shift: Shifting the Distribution of Direct Preference Optimization",
    claim="scaling the rejected response's log-ratio by f < 1 mitigates likelihood displacement, the more the less "
    "f is; it costs reward margin, and the policy wins against DPO's",
    measured="policies with shared features, two labelled pairs for each of 12 prompts of 40 responses (of a better "
    "writer), 200 steps at f = 1, 0.75, 0.5: log-prob of the chosen responses and share of displaced "
    "pairs; mean reward margin, and accuracy, on 400 other pairs a prompt; exact win rate against f = 1",
    rule=[
        Less("chosen log-prob, f=1", "chosen log-prob, start"),
        Less("chosen log-prob, f=1", "chosen log-prob, f=0.75"),
        Less("chosen log-prob, f=0.75", "chosen log-prob, f=0.5"),
        Less("displaced, f=0.5", "displaced, f=1"),
        Less("reward margin, f=0.5", "reward margin, f=1"),
        Above("win rate of f=0.75 against f=1", 0.5),
    ],
    seeds=20,
)
BETA = 0.1


def measure(seed: int, smoke: bool) -> dict[str, float]:
    features, reference, reward = world(seed, dimensions=16, told=1.0)
    writer = (reference + reward).log_softmax(-1)
    pairs, others = drawn(writer, reward, 2, seed), drawn(writer, reward, 400, seed + 1)
    figures, laws = {"chosen log-prob, start": float(of(reference, pairs)[0].mean())}, {}
    for f in (1.0, 0.75, 0.5):
        policy = Shared(features, reference)

        def loss(f: float = f, policy: Shared = policy) -> torch.Tensor:
            return dpo_shift(*of(policy() - reference, pairs), BETA, f).mean()

        for _ in steps(policy, loss, 20 if smoke else 200, lr=20.0):
            pass
        laws[f] = law = policy().detach()
        held_out, wins = of(law - reference, others), win_rate(law, laws[1.0], bradley_terry(reward))
        figures[f"chosen log-prob, f={f:g}"] = float(of(law, pairs)[0].mean())
        figures[f"displaced, f={f:g}"] = float(diagnostics.displaced(*of(law - reference, pairs)).double().mean())
        figures[f"reward margin, f={f:g}"] = float(margin(*held_out, BETA).mean())
        figures[f"reward accuracy, f={f:g}"] = float(diagnostics.ranked(*held_out).double().mean())
        figures[f"win rate of f={f:g} against f=1"] = float(wins.mean())
    return figures
