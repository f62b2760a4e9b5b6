"""Learning dynamics: what a step on one pair does to all other responses, and how DPO squeezes mass onto the argmax."""

import torch
from torch import Tensor

from espalier.exact import bradley_terry, expectation, win_rate
from espalier.losses import nll
from espalier.losses.preference import diagnostics, dpo
from papers import Above, Below, Less, Paper
from papers.preferences._shared import Shared, drawn, of, steps, world

PAPER = Paper(
    id="P159",
    title="Learning Dynamics of LLM Finetuning",
    claim="one step changes log-probs by -lr A K G (softmax, kernel, residual); DPO on responses that the policy finds "
    "unlikely ends by lowering the chosen ones too while the argmax grows; supervised training on both chosen and "
    "rejected responses beforehand saves the chosen ones from a part of that and gives a policy that wins",
    measured="policies with shared features, good responses that the base policy rarely gives: error of the "
    "decomposition for one DPO step at two learning rates; then supervised steps on the chosen, or on both, and 100 "
    "DPO steps: fall of the chosen responses' log-prob from its best, growth of the greedy one's, exact win rate",
    rule=[
        Below("relative error of A K G", 0.01),
        Less("relative error of A K G", "relative error of A K G, 10 times the lr"),
        Above("fall of chosen, after chosen", 0.5),
        Above("growth of greedy, after chosen", 0.1),
        Less("fall of chosen, after both", "fall of chosen, after chosen"),
        Above("win rate of both against chosen", 0.52),
    ],
    seeds=40,
    tried="All but the win rate comes out. It was first asked to be above 0.5, and was 0.495 [0.484, 0.505] in 40 "
    "seeds: no noise that more seeds would settle, but an effect that, if there is one, is far smaller than what "
    "the paper reports; so the rule now asks for 0.52, which can be told apart. While this was built (six other "
    "seeds each; 30, 100 and 240 DPO steps) policies trained on both beforehand won 0.45 to 0.53 of comparisons: "
    "0.526 for pairs of a good writer, 0.506 of a worse one, 0.48 with twice the features or with features that "
    "say little of the reward. Then each prompt got a likely and bad response, a degenerate argmax (12 other "
    "seeds each; 24 or 48 features, 30 or 100 steps, its features its own or common to all prompts): 0.496 to "
    "0.506; training on the chosen ones alone has already taken its mass. Last, strings of four tokens with a "
    "softmax at each, whose prefixes share features, so that the two gradients of a pair meet in different "
    "contexts as in a language model: the chosen ones fall less after both there too (1.5 nats for 2.2), and "
    "policies trained on both win 0.482 (standard error 0.008, 20 other seeds). Nor does the greedy response "
    "grow less after both: it starts lower and ends as high. What the chosen responses keep is not "
    "what the policy's reward comes from: what the argmax takes is no worse than they are.",
)
BETA = 0.1


def decomposition(policy: Shared, loss: Tensor, lr: float) -> float:
    """How wrong -lr A K G is about one step, of the size of the change."""
    law, features = policy().detach(), policy.features
    (gradient,) = torch.autograd.grad(loss, policy.weights)  # features^T G, so that features @ it is K G
    moved = -lr * features @ gradient
    predicted = moved - expectation(law, moved)[:, None]  # A = I - 1 pi^T
    after = (law + moved).log_softmax(-1)
    return float((after - law - predicted).norm() / (after - law).norm())


def measure(seed: int, smoke: bool) -> dict[str, float]:
    features, base, reward = world(seed, dimensions=48, told=0.5)
    pairs = drawn((2 * reward - base).log_softmax(-1), reward, 2, seed)
    figures, laws = {}, {}
    for name, shown in (("chosen", pairs[0]), ("both", torch.cat(pairs, 1))):
        start = Shared(features, base)
        likelihood = lambda: nll(start().gather(1, shown).flatten()).mean()  # noqa: B023, E731
        for _ in steps(start, likelihood, 10 if smoke else 50, lr=10.0):
            pass
        reference = start().detach()
        policy = Shared(features, reference)

        def loss(policy: Shared = policy, reference: Tensor = reference) -> Tensor:
            return dpo(*of(policy() - reference, pairs), BETA).mean()

        if name == "chosen":
            figures["relative error of A K G"] = decomposition(policy, loss(), lr=0.01)
            figures["relative error of A K G, 10 times the lr"] = decomposition(policy, loss(), lr=0.1)
        chosen, greedy = [], []
        for _ in steps(policy, loss, 10 if smoke else 100, lr=20.0):
            laws[name] = law = policy().detach()
            chosen.append(float(of(law, pairs)[0].mean()))
            greedy.append(float(diagnostics.concentration(law).best.mean()))
        figures |= {
            f"chosen log-prob, its best, after {name}": max(chosen),
            f"fall of chosen, after {name}": max(chosen) - chosen[-1],
        }
        figures |= {f"growth of greedy, after {name}": greedy[-1] - greedy[0]}
        figures[f"reward, after {name}"] = float(expectation(law, reward).mean())
    wins = win_rate(laws["both"], laws["chosen"], bradley_terry(reward))
    return figures | {"win rate of both against chosen": float(wins.mean())}
