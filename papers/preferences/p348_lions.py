"""Three stages, each with what was found to help: packed and masked SFT, DPO on many pairs, then online DPO."""

import torch
from torch import Tensor

from espalier.exact import bradley_terry, kl, tilted, win_rate
from espalier.losses import nll
from espalier.losses.preference import dpo
from papers import Less, Paper
from papers.preferences._shared import Shared, drawn, normal, of, steps, world

PAPER = Paper(
    id="P348",
    title="LIONs: An Empirically Optimized Approach to Align Language Models",
    claim="in the three stages SFT, DPO and online DPO it helps to pack examples into rows, to mask what the user "
    "wrote, to have more preference pairs, and to go on online; the whole recipe beats the one without all of that",
    measured="policies with shared features: 12 training prompts, 12 texts of users, which an SFT that does not mask "
    "them learns too, and 12 test prompts; SFT on 16 rows of 64 tokens, an example a row or as many as fit: "
    "KL from the expert on the test prompts; DPO on 1 or 16 pairs a prompt; three rounds of four pairs a "
    "prompt, best against worst of eight samples, by a reward model with errors: exact win rate against the "
    "base model on the test prompts",
    rule=[
        Less("from the expert", "from the expert, padded"),
        Less("from the expert", "from the expert, not masked"),
        Less("DPO, few pairs", "DPO"),
        Less("SFT", "DPO"),
        Less("DPO", "online"),
        Less("DPO, nothing of it", "online"),
    ],
    seeds=20,
    tried="What packing is worth depends on what is held equal. With as many SFT steps of as many rows it only makes "
    "the batch larger, and padded rows did no worse (win rate, two to four learning rates, five seeds each); "
    "with as many rows of data nearly three times as many examples fit, and that is what is compared. After SFT "
    "alone the win rate is no measure of it: few examples, learned by heart, make a policy surer and sometimes "
    "better. The first full run had one new pair a prompt and round, not four: the online stage then added 0.009 "
    "[-0.008, 0.026].",
)
PROMPTS, ROWS, ROW, LENGTHS = 12, 16, 64, (4, 40)
TRAIN, USER, TEST = (slice(part * PROMPTS, (part + 1) * PROMPTS) for part in range(3))


def fits(packed: bool, chance: torch.Generator) -> int:
    """How many examples of random length the rows hold: packing lays them end to end until one does not fit."""
    if not packed:
        return ROWS
    count = 0
    for _ in range(ROWS):
        left = ROW
        while (length := int(torch.randint(*LENGTHS, (1,), generator=chance))) <= left:
            left, count = left - length, count + 1
    return count


def measure(seed: int, smoke: bool) -> dict[str, float]:
    features, base, reward = world(seed, dimensions=48, told=0.7, prompts=3 * PROMPTS)
    users = world(seed + 500, dimensions=48, told=0.7, prompts=3 * PROMPTS)
    written = tilted(base, features @ users.features[0, 0] * 3, 1.0)[USER]  # users have a style of their own
    expert, preference = tilted(base, reward, 1.0)[TRAIN], bradley_terry(reward)
    judged = reward[TRAIN] + 0.5 * normal(seed + 1)(PROMPTS, 40)

    def wins(policy: Shared) -> float:
        return float(win_rate(policy().detach(), base, preference)[TEST].mean())

    def preferring(start: Shared, pairs: tuple[Tensor, Tensor], reference: Tensor, count: int) -> Shared:
        policy = Shared(features, base)
        policy.load_state_dict(start.state_dict())
        for _ in steps(policy, lambda: dpo(*of((policy() - reference)[TRAIN], pairs), 0.1).mean(), count, lr=15.0):
            pass
        return policy

    def stages(packed: bool = True, masked: bool = True, many: bool = True) -> dict[str, float]:
        policy, chance = Shared(features, base), torch.Generator().manual_seed(seed)
        prompts = torch.randint(PROMPTS, (fits(packed, chance),), generator=chance)
        answers = torch.multinomial(expert.exp()[prompts], 1, generator=chance)
        texts = torch.multinomial(written.exp()[prompts], 1, generator=chance)

        def likelihood() -> Tensor:
            law = policy()
            loss = nll(law[TRAIN][prompts].gather(1, answers)).mean()
            return loss if masked else loss + nll(law[USER][prompts].gather(1, texts)).mean()

        for _ in steps(policy, likelihood, 5 if smoke else 60, lr=1.0):
            pass
        reference = policy().detach()
        found = {"SFT": wins(policy), "from the expert": float(kl(tilted(base, reward, 1.0), reference)[TEST].mean())}
        offline = drawn(base[TRAIN], reward[TRAIN], 16, seed)
        pairs = offline if many else (offline[0][:, :1], offline[1][:, :1])
        policy = preferring(policy, pairs, reference, 3 if smoke else 20)
        found["DPO"] = wins(policy)
        for _ in range(3):
            samples = torch.multinomial(policy().detach().exp()[TRAIN], 32, replacement=True, generator=chance)
            scores = judged.gather(1, samples).view(PROMPTS, 4, 8)
            best, worst = (
                samples.view(scores.shape).gather(2, pick(2, keepdim=True))[..., 0]
                for pick in (scores.argmax, scores.argmin)
            )
            policy = preferring(policy, (best, worst), reference, 3 if smoke else 15)
        return found | {"online": wins(policy)}

    return stages() | {
        "from the expert, padded": stages(packed=False)["from the expert"],
        "from the expert, not masked": stages(masked=False)["from the expert"],
        "DPO, few pairs": stages(many=False)["DPO"],
        "DPO, nothing of it": stages(False, False, False)["DPO"],
    }
