"""A learned temperature (Dhuliawala et al. 2024, "Adaptive decoding via latent preference optimization", arXiv
2411.09661), chosen for each prompt.

A small head reads the model's last hidden state of the prompt and gives a distribution over a few temperatures. It is
trained by preferences between *latents*: of the responses to a prompt the best and the worst are compared, and the
temperature that one was drawn at is preferred to the other's. The loss is DPO's (`espalier.losses.preference.dpo`) on
the head's log-probs of the two temperatures; the language model stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from espalier.engines.base import Sampling
from espalier.errors import ConfigError
from espalier.losses.preference import dpo
from espalier.models import Model, pack, token_path
from espalier.scorers.models import evaluating
from espalier.search.aggregate import Choose, candidates
from espalier.search.chunk import Chunk
from espalier.search.chunked import Chunked
from espalier.trees import Forest, Node, Tree

METADATA = "temperature"
"""The key of `Node.meta` that says at which temperature a response was drawn."""


class TemperatureHead(nn.Module):
    """A distribution over temperatures for each prompt; uniform at first.

    Attributes:
        temperatures: the choices.
    """

    def __init__(self, model: Model, temperatures: Sequence[float] = (0.0, 0.4, 0.8, 1.2), width: int = 64) -> None:
        super().__init__()
        if not temperatures:
            raise ConfigError("a temperature head needs temperatures to choose from")
        self.model, self.temperatures = (model,), tuple(temperatures)  # in a tuple: not a submodule
        states = model.hf.config.get_text_config().hidden_size
        self.layers = nn.Sequential(nn.Linear(states, width), nn.SiLU(), nn.Linear(width, len(temperatures)))
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, states: Float[Tensor, "prompts width"]) -> Float[Tensor, "prompts temperatures"]:
        """Log-probs of the temperatures."""
        found: Tensor = self.layers(states).log_softmax(-1)
        return found

    def states(self, roots: Sequence[Node]) -> Float[Tensor, "prompts width"]:
        """The model's last hidden state of each prompt."""
        (model,) = self.model
        prompts = [Tree(Node(root.text, "prompt", token_ids=token_path(root, model.tokenizer))) for root in roots]
        with torch.no_grad(), evaluating(model):
            packed = pack(prompts, device=model.device)
            return model.hidden(packed)[packed.last].float()


@dataclass
class AdaptiveTemperature(Chunked):
    """`n` samples of each prompt, each at a temperature that the head draws for the prompt.

    `meta["temperature"]` of a leaf says which. The answer is the first that finished, or what `choose` picks.

    Attributes:
        head: the distribution over temperatures.
        n: samples of each prompt.
        sampling: how they are drawn, but for the temperature.
        greedy: take the head's likeliest temperature instead of drawing one.
        choose: picks the answer; with `score`, among scored leaves.
        score: the name of the score that leaves get; None needs no scorer.
    """

    head: TemperatureHead
    n: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    greedy: bool = False
    choose: Choose | None = None
    score: str | None = None
    name = "adaptive-temperature"

    def grow(self, chunk: Chunk) -> list[Node | None]:
        rng, roots = chunk.rng(self.sampling.seed), [tree.root for tree in chunk.trees]
        with torch.no_grad():
            law = self.head(self.head.states(roots)).double().exp().cpu().numpy()
        picks = range(len(self.head.temperatures))
        drawn = [
            [int(p.argmax())] * self.n if self.greedy else rng.choice(picks, self.n, p=p / p.sum()).tolist()
            for p in law
        ]
        leaves: list[list[Node]] = [[] for _ in roots]
        for latent, temperature in enumerate(self.head.temperatures):
            asking = [[root] * of.count(latent) for root, of in zip(roots, drawn, strict=True)]
            for have, new in zip(
                leaves, chunk.extend(asking, 1, replace(self.sampling, temperature=temperature)), strict=True
            ):
                for node in new:
                    node.meta[METADATA] = temperature
                have += new
        if self.score is not None:
            chunk.score(self.score, of=[candidates(of) for of in leaves])
        return [self.choose(of) if self.choose else next(iter(candidates(of)), None) for of in leaves]


def latent_pairs(
    forest: Forest, score: str, temperatures: Sequence[float], seed: int = 0
) -> tuple[list[Node], Int[Tensor, "pairs"], Int[Tensor, "pairs"]]:
    """The prompts of trees with a best and a worst response, and the numbers of the temperatures of the two.

    Among equal scores `seed` draws one: the first would be that of the lowest temperature. A tree whose best and worst
    have equal scores or temperatures tells nothing and is left out.
    """
    rng, roots, chosen, rejected = np.random.default_rng(seed), list[Node](), list[int](), list[int]()
    for tree in forest:
        known = [(value, leaf.meta[METADATA]) for leaf in tree.leaves() if (value := leaf.value(score)) is not None]
        if not known:
            continue
        high, low = max(value for value, _ in known), min(value for value, _ in known)
        ends = [[temperature for value, temperature in known if value == end] for end in (high, low)]
        top, bottom = (of[rng.integers(len(of))] for of in ends)
        if high > low and top != bottom:
            roots.append(tree.root)
            chosen.append(temperatures.index(top))
            rejected.append(temperatures.index(bottom))
    return roots, torch.tensor(chosen, dtype=torch.long), torch.tensor(rejected, dtype=torch.long)


def fit_temperature(
    head: TemperatureHead,
    forest: Forest,
    score: str,
    *,
    beta: float = 1.0,
    steps: int = 200,
    lr: float = 1e-2,
    seed: int = 0,
) -> list[float]:
    """Latent preference optimisation: train the head on the responses of `forest`, and return the loss of each step.

    The reference is the head as it is; `seed` is that of `latent_pairs`.

    Raises:
        ConfigError: no tree has two responses of different score and temperature.
    """
    roots, chosen, rejected = latent_pairs(forest, score, head.temperatures, seed)
    if not roots:
        raise ConfigError(f"no prompt has responses of different {score!r} and temperature to learn from")
    states, losses, rows = head.states(roots), [], torch.arange(len(roots))
    with torch.no_grad():
        reference = head(states)
    optimiser = torch.optim.Adam(head.layers.parameters(), lr=lr)
    for _ in range(steps):
        ratio = head(states) - reference
        loss = dpo(ratio[rows, chosen], ratio[rows, rejected], beta=beta).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses
