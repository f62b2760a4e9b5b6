"""SimpleMix: half of the pairs the policy's own, half another's: each knows what the other does not."""

import torch
from torch import Tensor

from espalier.exact import Tabular, anneal, bandit, bradley_terry, win_rate
from espalier.losses.preference import dpo
from papers import Less, Paper
from papers.preferences._shared import drawn, normal, of

PAPER = Paper(
    id="P261",
    title="SIMPLEMIX: Frustratingly Simple Mixing of Off- and On-policy Data in Language Model Preference Learning",
    claim="the policy's own pairs are better for tasks with right and wrong answers, another's for open-ended ones, "
    "where the others write what the policy would not; DPO on half of each is better over all than on either",
    measured="tables of 24 prompts and 40 responses; 12 with right and wrong ones, where the others write unlike the "
    "policy; 12 open, where the ten responses that the policy likes least are worth 2.8 more and a strong writer gives "
    "them, compared with a response like the policy's; 96 pairs a prompt, of either source or half of each: exact win "
    "rate against the reference on both kinds and over all",
    rule=[
        Less("right or wrong, off-policy", "right or wrong, on-policy"),
        Less("open, on-policy", "open, off-policy"),
        Less("over all, on-policy", "over all, mixed"),
        Less("over all, off-policy", "over all, mixed"),
    ],
    seeds=30,
    tried="It needs many pairs: half of 16 a prompt teaches so much less than 16 that mixing only averages (policies "
    "with shared features and tables, 4 to 32 pairs); from 64 on half is nearly as good as all. HyPO (another's pairs "
    "with an online KL penalty), which the paper beats too, is not compared: in a table DPO leaves responses that are "
    "in no pair as they are to each other, a KL weight of 0.001 is enough to leave them all their mass, and HyPO wins "
    "0.55 where DPO wins 0.72.",
)
KIND, ARMS, EACH, BETA = 12, 40, 96, 0.3
Pairs = tuple[Tensor, Tensor]


def compared(laws: tuple[Tensor, Tensor], reward: Tensor, seed: int) -> Pairs:
    """A response of each law, labelled once, chosen first; [prompts, EACH]."""
    chance = torch.Generator().manual_seed(seed)
    one, two = (torch.multinomial(law.exp(), EACH, replacement=True, generator=chance) for law in laws)
    wins = torch.sigmoid(reward.gather(1, one) - reward.gather(1, two))
    won = torch.rand(wins.shape, generator=chance, dtype=torch.float64) < wins
    return torch.where(won, one, two), torch.where(won, two, one)


def measure(seed: int, smoke: bool) -> dict[str, float]:
    draw = normal(seed)
    reference = (2 * draw(2 * KIND, ARMS)).log_softmax(-1)
    rare = (reference[KIND:].argsort(1).argsort(1) < 10).double()
    reward = torch.cat([3 * draw(KIND, ARMS).sign(), 1.2 * draw(KIND, ARMS) + 2.8 * rare])
    strong = torch.cat([10 * draw(KIND, ARMS), 4 * rare]).log_softmax(-1)
    weak = torch.cat([(10 * draw(KIND, ARMS)).log_softmax(-1), reference[KIND:]])
    on, off = drawn(reference, reward, EACH, seed), compared((strong, weak), reward, seed + 1)
    half = EACH // 2
    mixed = (torch.cat([on[0][:, :half], off[0][:, :half]], 1), torch.cat([on[1][:, :half], off[1][:, :half]], 1))

    def trained(pairs: Pairs) -> Tensor:
        policy = Tabular(bandit(ARMS, prompts=2 * KIND), reference[:, None])
        anneal(policy, lambda: dpo(*of(policy() - reference, pairs), BETA).mean(), steps=10 if smoke else 150, lr=0.3)
        return win_rate(policy().detach(), reference, bradley_terry(reward))

    wins = {"on-policy": trained(on), "off-policy": trained(off), "mixed": trained(mixed)}
    figures = {}
    for name, found in wins.items():
        figures[f"right or wrong, {name}"] = float(found[:KIND].mean())
        figures[f"open, {name}"] = float(found[KIND:].mean())
        figures[f"over all, {name}"] = float(found.mean())
    return figures
