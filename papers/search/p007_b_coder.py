"""A Q-function that starts as the model learns to write programs from stored ones, and says which samples to keep."""

from copy import deepcopy

import torch
from torch import Tensor

from espalier.losses import conservative_backup, dueling, mse, nll, ppo_clip, recovered_rewards, reinforce
from papers import Above, Less, Paper
from papers.search._rewriting import LANGUAGE, RUNS, Network, law, paths, tasks, token_logprobs, write

PAPER = Paper(
    id="P007",
    title="B-Coder: Value-Based Deep Reinforcement Learning for Program Synthesis",
    claim="a dueling Q-function that starts as the language model and learns by a conservative backup from stored "
    "programs and their tests matches or exceeds policy gradients; the reward recovered from it ranks new candidates",
    measured="128 tasks, each a stack program to be replaced by one of up to 5 instructions, and 375 never seen; a "
    "network pre-trained on 4 human programs a task. Rewards of 1, -0.3 (fails) and -1 (does not compile). B-Coder: "
    "values first, then the paper's three losses, on these and 32 stored programs a task of the pre-trained model, no "
    "new one; REINFORCE and likelihood on the same; PPO, which cannot use them, on 8 new programs a task. On the tasks "
    "never seen: whether the greedy program is right (pass@1, as in the paper's table 8), the chance of a right one "
    "when one samples (100 of them), and the best of 16 samples by the recovered reward and by chance",
    rule=[
        Less("pass@1, pre-trained", "pass@1, B-Coder"),
        Above("pass@1, B-Coder less PPO", -0.02),
        Above("pass@1, B-Coder less REINFORCE", -0.02),
        Less("best of 16, chance", "best of 16, recovered reward"),
    ],
    seeds=7,
    tried="Against PPO with 8 new programs a task the greedy program is as often right, as far as 7 seeds tell (-0.011 "
    "[-0.048, 0.025]); with 32, as many as are stored, PPO is ahead (0.79 against 0.72), and so is REINFORCE on the "
    "same store (0.75): that the programs are not its own does not harm it here. When one samples, the chances are "
    "0.57 for B-Coder, 0.63 for REINFORCE, 0.53 for PPO. As the paper's table 1 compares, ranked samples against "
    "unranked, B-Coder's best of 16 (0.72) is ahead of both; but its greedy program is as good, and with so little "
    "discount the recovered rewards nearly add up to the scaled advantages and a constant, so that ranking looks for "
    "the greedy program; likelihood ranks as well (0.74). Scales of 1 (the paper's), 0.3, 0.1 and 0.03 gave 0.66, "
    "0.73, 0.75 and 0.74 on the same 2 development seeds, the first two with 200 updates. One counted run. More seeds "
    "would not settle it in reasonable time: beside PPO (-0.011, limit -0.02, standard deviation 0.039 over seeds) it "
    "would take about 160 of 10 seconds each, beside REINFORCE (-0.028, 0.022) about 55, and nearly all tasks that "
    "there are have been held out. On a former testbed (8 tasks, none held out, a table over the last two "
    "instructions, no losses of human programs and no training of the values first, PPO with 64 new programs, the rule "
    "on the chance when one samples) B-Coder rose from 0.14 to 0.70, PPO and REINFORCE to 0.88; ranking took 0.07 to "
    "0.11, inconclusive, as few right programs were left that had not been executed.",
)

LEARNED, HUMAN, STORED, BATCH, SAMPLED = 128, 4, 32, 2, 100
PRETRAINING, VALUES, UPDATES = 60, 50, 150
RATE, SCALE, GAMMA, BY_ADVANTAGE, BY_LIKELIHOOD = 1e-3, 0.1, 0.999, 0.1, 0.5


class Coder:
    """A policy, its value, and the fixed policy that says which token to back up from."""

    def __init__(self, start: Network, task: Tensor, reward: Tensor, seed: int) -> None:
        self.policy, self.value, self.start = deepcopy(start), Network(1, seed), start
        self.task, self.reward = task, reward

    def q(self, task: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Q of every token, and V."""
        values = self.value(task, before)[..., 0]
        return dueling(self.policy(task, before), values, SCALE), values

    def losses(self, human: Tensor, stored: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared error of Q, half of it on each, and how far human tokens stand below the best one."""
        strings = torch.cat([human, stored], 1)
        before, token, there = paths(strings)
        task = self.task[:, None, None]
        q, values = self.q(task, before)
        with torch.no_grad():
            greedy = self.start(task, before).argmax(-1)
        ended = ~there.roll(-1, -1)
        ended[..., -1] = True
        earned = ended * self.reward.gather(1, strings)[..., None]
        target = conservative_backup(earned, q.roll(-1, -2), greedy.roll(-1, -1), ended.float(), GAMMA)
        taken = q.gather(-1, token[..., None])[..., 0]
        error, by, of = mse(taken, target), there[:, : human.shape[1]], there[:, human.shape[1] :]
        mean = (error[:, : human.shape[1]][by].mean() + error[:, human.shape[1] :][of].mean()) / 2
        return mean, (values - taken)[:, : human.shape[1]][by].mean()

    def recovered(self, task: Tensor, strings: Tensor) -> Tensor:
        """The sum of each program's recovered rewards."""
        before, token, there = paths(strings)
        with torch.no_grad():
            q, values = self.q(task[:, None, None], before)
        after = torch.where(there, values, 0.0).roll(-1, -1)
        after[..., -1] = 0.0
        return torch.where(there, recovered_rewards(q.gather(-1, token[..., None])[..., 0], after, GAMMA), 0.0).sum(-1)


def some(strings: Tensor, draws: torch.Generator) -> Tensor:
    """A few of the programs of each task."""
    return strings.gather(1, torch.randint(strings.shape[1], (len(strings), BATCH), generator=draws))


def measure(seed: int, smoke: bool) -> dict[str, float]:
    pretraining, values, updates = (20, 5, 10) if smoke else (PRETRAINING, VALUES, UPDATES)
    draws = torch.Generator().manual_seed(seed)
    _, right = tasks()
    order = torch.randperm(len(right), generator=draws)
    learned, held = order[:LEARNED], order[LEARNED:]
    reward = torch.where(right > 0, 1.0, torch.where(RUNS, -0.3, -1.0))[learned]
    short = right[learned] * torch.tensor([-float(len(text)) for text in LANGUAGE.strings]).exp()
    human = torch.multinomial(short, HUMAN, replacement=True, generator=draws)

    def likelihood(policy: Network, strings: Tensor) -> Tensor:
        return nll(token_logprobs(policy, learned, strings)[paths(strings)[2]]).mean()

    start = Network(LANGUAGE.tokens, seed)
    optimiser = torch.optim.Adam(start.parameters(), 3 * RATE)
    for _ in range(pretraining):
        optimiser.zero_grad()
        likelihood(start, human).backward()
        optimiser.step()
    stored = write(start, learned, STORED, draws)

    coder = Coder(start, learned, reward, seed + 1)
    optimiser = torch.optim.Adam(coder.value.parameters(), 3 * RATE)
    for _ in range(values):  # the values of the model as it is
        optimiser.zero_grad()
        coder.losses(some(human, draws), some(stored, draws))[0].backward()
        optimiser.step()
    optimiser = torch.optim.Adam([*coder.policy.parameters(), *coder.value.parameters()], RATE)
    for _ in range(updates):
        optimiser.zero_grad()
        written = some(human, draws)
        error, regret = coder.losses(written, some(stored, draws))
        (error + BY_ADVANTAGE * regret + BY_LIKELIHOOD * likelihood(coder.policy, written)).backward()
        optimiser.step()

    gradient = deepcopy(start)
    optimiser = torch.optim.Adam(gradient.parameters(), RATE)
    baseline = reward.gather(1, stored).mean(1, keepdim=True)
    for _ in range(updates):  # as if the stored programs were its own
        optimiser.zero_grad()
        drawn = some(stored, draws)
        advantages = (reward.gather(1, drawn) - baseline)[..., None].expand(-1, -1, LANGUAGE.length)
        there = paths(drawn)[2]
        losses = reinforce(token_logprobs(gradient, learned, drawn)[there], advantages[there])
        (losses.mean() + likelihood(gradient, some(human, draws))).backward()
        optimiser.step()

    def ppo(rounds: int, passes: int) -> Network:
        policy, critic = deepcopy(start), Network(1, seed + 1)
        optimiser = torch.optim.Adam([*policy.parameters(), *critic.parameters()], RATE)
        for _ in range(rounds):
            drawn = write(policy, learned, BATCH, draws)
            before, _, there = paths(drawn)
            old = token_logprobs(policy, learned, drawn).detach()
            earned = reward.gather(1, drawn)[..., None].expand(there.shape)
            advantage = earned - critic(learned[:, None, None], before)[..., 0].detach()
            advantage = (advantage - advantage[there].mean()) / advantage[there].std()
            for _ in range(passes):
                optimiser.zero_grad()
                new, value = token_logprobs(policy, learned, drawn), critic(learned[:, None, None], before)[..., 0]
                (ppo_clip(new, old, advantage) + 0.5 * mse(value, earned))[there].mean().backward()
                optimiser.step()
        return policy

    policies = {
        "pre-trained": start,
        "B-Coder": coder.policy,
        "REINFORCE": gradient,
        "PPO": ppo(4, passes=updates // 15),
        "PPO, 32 new": ppo(STORED // BATCH, passes=updates // 15),
    }
    figures = {}
    for name, policy in policies.items():
        greedy = write(policy, held, 1, draws, temperature=0.0)
        figures[f"pass@1, {name}"] = float(right[held].gather(1, greedy).mean())
        figures[f"chance, {name}"] = float((law(policy, held[:SAMPLED]) * right[held[:SAMPLED]]).sum(1).mean())
    for name in ("PPO", "REINFORCE"):
        figures[f"pass@1, B-Coder less {name}"] = figures["pass@1, B-Coder"] - figures[f"pass@1, {name}"]
    drawn = write(coder.policy, held, 16, draws)
    passes, rank = right[held].gather(1, drawn), coder.recovered(held, drawn)
    figures["best of 16, chance"] = float(passes.mean())
    figures["best of 16, any"] = float(passes.amax(1).mean())
    figures["best of 16, recovered reward"] = float(passes.gather(1, rank.argmax(1, keepdim=True)).mean())
    likely = token_logprobs(coder.policy, held, drawn).detach().sum(-1)
    figures["best of 16, likelihood"] = float(passes.gather(1, likely.argmax(1, keepdim=True)).mean())
    return figures
