"""A temperature chosen for each prompt, learned from which of its samples were best, beats every fixed one."""

from itertools import product

import numpy as np
import torch
from torch import Tensor

from espalier import Forest, Node, Sampling, Score, Tree, from_config
from espalier.exact import ExactEngine, ExactScorer, Language, Neural, Tabular, tokenizer
from espalier.search import AdaptiveTemperature, TemperatureHead, fit_temperature
from papers import Below, Less, Paper

TEMPERATURES, TASKS = (0.0, 0.4, 0.8, 1.2), ("exact", "chat", "story")
PAPER = Paper(
    id="P182",
    title="Adaptive Decoding via Latent Preference Optimization",
    claim="a head on the frozen model's last hidden state, trained by preferences between the temperatures of the best "
    "and the worst samples of a prompt, learns which tasks want which temperature, and on a mixture of tasks beats "
    "every fixed temperature; on each task it does as well as the best one",
    measured="a frozen random transformer (gpt2, 1 layer) on 81 prompts, whose last symbol says the task: exact (only "
    "the likeliest continuation is right), chat (neither too likely nor too surprising), story (the more surprising "
    "the better). A head trained on 16 samples with noisy rewards, six times for each of 54 prompts; exact expected "
    "reward on the 27 others of the head's likeliest temperatures and of each fixed one",
    rule=[
        *(Less(f"reward, temperature {fixed:g}", "reward, learned temperature") for fixed in TEMPERATURES),
        Below("behind the best temperature of each task by", 0.05),
        Less("temperature, exact", "temperature, chat"),
        Less("temperature, chat", "temperature, story"),
    ],
    seeds=10,
    tried="Built on other seeds: with the task said by the first of four symbols, and three searches a prompt for six, "
    "the head did not learn the task well enough from an untrained model's last state: it was 0.05 to 0.15 behind the "
    "best temperature of each task, and on one of three seeds behind temperature 0 on the mixture.",
)
CONFIG = {
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 16,
    "initializer_range": 0.15,
    "tie_word_embeddings": False,
}


class Noisy(ExactScorer):
    """Rewards as a reward model gives them: each a little wrong, the same string's not always alike."""

    def __init__(self, language: Language, reward: Tensor, seed: int) -> None:
        super().__init__(language, "value", reward)
        self.rng = np.random.default_rng(seed)

    def judge(self, node: Node, tree: Tree) -> Score:
        value = super().judge(node, tree).value
        assert value is not None
        return Score(value + 0.1 * self.rng.standard_normal())


def rewards(language: Language, laws: Tensor) -> Tensor:
    """What each task wants, between 0 and 1, "prompts strings"; `laws` are of temperatures 0, 0.8 and 1."""
    greedy, middle, own = laws
    surprise = -own.log()
    low, high = surprise.amin(1, keepdim=True), surprise.amax(1, keepdim=True)
    wanted = (middle * surprise).sum(1, keepdim=True)
    kinds = torch.stack([greedy.round(), torch.exp(-((surprise - wanted) ** 2) / 2), (surprise - low) / (high - low)])
    return kinds[[language.symbols.index(prompt[-1]) for prompt in language.prompts], range(len(language.prompts))]


def measure(seed: int, smoke: bool) -> dict[str, float]:
    language = Language("abc", 3, end=False, prompts=tuple(map("".join, product("abc", repeat=3 if smoke else 4))))
    model = from_config(CONFIG, tokenizer(language), seed=seed)
    table = Neural(language, model.hf).next_logprobs().detach()

    def law(temperature: float) -> Tensor:
        return language.string_logprobs((table / max(temperature, 1e-3)).log_softmax(-1)).exp()

    reward = rewards(language, torch.stack([law(0.0), law(0.8), law(1.0)]))
    order = np.random.default_rng(seed).permuted(np.arange(len(reward)).reshape(-1, 3).T, axis=1)  # a row for each task
    known, new = np.split(order, [order.shape[1] * 2 // 3], axis=1)
    again = 1 if smoke else 6
    problems = Forest([Tree(Node(language.prompts[i], "prompt")) for i in known.ravel() for _ in range(again)])
    head = TemperatureHead(model, TEMPERATURES)
    scorer = Noisy(language, reward, seed)
    samples = AdaptiveTemperature(head, 16, Sampling(max_tokens=3, seed=seed), score="value", batch=len(problems))
    found = samples.search(problems, ExactEngine(Tabular(language, table)), scorer)
    fit_temperature(head, found.forest, "value", steps=20 if smoke else 200)

    fixed = torch.stack([(law(temperature) * reward).sum(1) for temperature in TEMPERATURES])[:, new]
    with torch.no_grad():
        roots = [Node(language.prompts[i], "prompt") for i in new.ravel()]
        chosen = head(head.states(roots)).argmax(1).reshape(new.shape)
    learned = fixed.gather(0, chosen[None])[0]
    return {
        "reward, learned temperature": float(learned.mean()),
        **{f"reward, temperature {t:g}": float(of.mean()) for t, of in zip(TEMPERATURES, fixed, strict=True)},
        "reward, best of each prompt": float(fixed.amax(0).mean()),
        "behind the best temperature of each task by": float((fixed.mean(2).amax(0) - learned.mean(1)).mean()),
        **{
            f"temperature, {task}": float(torch.tensor(TEMPERATURES)[of].mean())
            for task, of in zip(TASKS, chosen, strict=True)
        },
        **{
            f"best temperature, {task}": TEMPERATURES[int(of)]
            for task, of in zip(TASKS, fixed.mean(2).argmax(0), strict=True)
        },
    }
