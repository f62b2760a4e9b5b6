"""The one loop: it takes trees a step, asks the recipe for terms, reduces them over the whole step, and updates.

It does not know which recipe it serves. What makes a resume exact: every random choice (the data's order, dropout, the
rollouts) is drawn from a generator seeded by the run's seed and the step, never from a stream that has to be saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch

from espalier.engines.parity import replay
from espalier.errors import TrainingError
from espalier.losses import reduce, totals
from espalier.models import Model, Outputs, Packed, encode, pack
from espalier.models.in_place import gradients_in_place
from espalier.training.batch import Batch, micro_batches
from espalier.training.config import Training
from espalier.training.order import order
from espalier.training.recipe import Frozen, Online, Recipe, Rolling
from espalier.training.reference import Follower, Reference, precision
from espalier.training.rollout import Actor, rollout
from espalier.training.schedules import learning_rate
from espalier.trees import Forest, Tree

_PARITY_TOKENS = 512  # replayed before a rollout is trained on; all of it would cost as much as a third of the update


@dataclass(slots=True)
class Loop:
    """Everything a step needs; `step(i)` makes step i (from 0) and returns its metrics.

    The trees of an offline recipe have token ids (see `espalier.training.prepare`).
    """

    recipe: Recipe
    model: Model
    forest: Forest
    training: Training
    total: int
    optimizer: torch.optim.Optimizer
    reference: Reference
    actor: Actor | None
    follower: Follower | None = None  # the reference, where it follows the policy
    rolled: Forest | None = None  # the last rollout, for the run folder

    def step(self, number: int) -> dict[str, float]:
        """One step. It makes no update where an online recipe found nothing to learn from.

        Raises:
            TrainingError: a loss or gradient is not finite, or nothing can be learned from the step's trees.
        """
        settings = self.training
        torch.manual_seed(int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0]))
        trees = self.recipe.draw(self.forest, settings.seed, number, settings.batch_size)
        metrics: dict[str, float] = {}
        if isinstance(self.recipe, Online):
            trees, metrics = self._collect(trees, number)
        rate = learning_rate(
            number,
            self.total,
            peak=settings.lr,
            warmup=settings.warmup,
            shape=settings.schedule,
            final=settings.final_lr,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        metrics |= self._learn(trees, number) if trees else {"tokens": 0.0}
        if self.follower is not None:
            self.follower.follow(number + 1)
        return metrics | {"lr": rate}

    def _learn(self, trees: Sequence[Tree], number: int) -> dict[str, float]:
        """The updates of a step."""
        frozen = Frozen(self._frozen, self.reference)
        metrics = self.recipe.observe(trees if self.rolled is None else list(self.rolled), frozen, self._packs)
        recipe = self.recipe
        updates, passes = (recipe.updates, recipe.passes) if isinstance(recipe, Online) else (1, 1)
        shares = [trees[i::updates] for i in range(min(updates, len(trees)))]
        prepared = [[self.recipe.batch(packed, frozen) for packed in self._packs(share)] for share in shares]
        self.recipe.settle([batch for share in prepared for batch in share])
        made = [self._update(share, number) for _ in range(passes) for share in prepared]
        metrics |= {name: sum(update[name] for update in made) / len(made) for name in made[0]}
        return metrics | {"tokens": float(sum(len(b.packed.token_ids) for share in prepared for b in share))}

    def _collect(self, trees: list[Tree], number: int) -> tuple[list[Tree], dict[str, float]]:
        """What the step learns from, and what its rollouts were like."""
        recipe, seed = self.recipe, self.training.seed
        assert isinstance(recipe, Online)
        assert self.actor is not None
        actor, attempts, draws = self.actor, count(), count(1)
        self.rolled = Forest()

        def roll(prompts: Sequence[Tree]) -> tuple[Forest, dict[str, float]]:
            self.model.eval()
            attempt = next(attempts)
            asked = actor.prompts(prompts, number) if actor.prompts else prompts
            forest, metrics = rollout(asked, actor, recipe, seed * 1_000_003 + number + attempt * 1_000_000_007)
            encode(forest, self.model.tokenizer, self.model.fingerprint)
            if attempt == 0:
                metrics["parity"] = self._parity(list(forest), recipe, number)
            self.rolled = Forest([*(self.rolled or ()), *forest])
            return forest, metrics

        def fresh(many: int) -> list[Tree]:
            other = int(np.random.SeedSequence([seed, number, next(draws)]).generate_state(1)[0])
            return [self.forest[i] for i in order(len(self.forest), other, 0, many)]

        return recipe.collect(trees, Rolling(roll, fresh))

    def _parity(self, trees: Sequence[Tree], recipe: Online, number: int) -> float:
        """How far sampled and replayed log-probs are apart, in nats a token."""
        some = micro_batches(trees, _PARITY_TOKENS)[0]
        try:
            parity = replay(self.model, some, recipe.temperature, self._frozen).mean_abs
        except ValueError as error:
            raise TrainingError(f"step {number}: {error}; policy gradients need sampled log-probs") from None
        if parity > recipe.parity_limit:
            raise TrainingError(
                f"step {number}: sampler and trainer disagree by {parity:.3g} nats a token, more than "
                f"parity_limit = {recipe.parity_limit}; use one precision for both, or raise recipe.parity_limit"
            )
        return parity

    def _packs(self, trees: Sequence[Tree]) -> Iterator[Packed]:
        for group in micro_batches(trees, self.training.micro_tokens):
            yield pack(group, targets=self.recipe.targets, device=str(self.model.device))

    def _forward(self, packed: Packed, **wanted: object) -> Outputs:
        with precision(self.training, self.model):
            return self.model(packed, temperature=self.recipe.temperature, **wanted)

    def _frozen(self, packed: Packed, **wanted: object) -> Outputs:
        self.model.eval()
        with torch.no_grad():
            return self._forward(packed, **wanted)

    def _update(self, batches: Sequence[Batch], number: int) -> dict[str, float]:
        recipe = self.recipe
        denominators = totals(batch.weights for batch in batches)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        metrics: dict[str, float] = {}
        wanted = {
            "logprobs": recipe.needs_logprobs,
            "heads": (recipe.head,) if recipe.head else (),
            "entropy": recipe.entropy,
            "top": recipe.top,
            "detached": recipe.detached,
        }
        for batch in batches:
            with gradients_in_place(self.model.hf) if recipe.needs_logprobs else nullcontext():
                terms = recipe.terms(batch, self._forward(batch.packed, **wanted))
            try:
                loss, parts = reduce(terms, batch.weights, denominators)
            except ValueError as error:
                raise TrainingError(f"step {number}: {error}") from None
            if not math.isfinite(loss.item()):
                raise TrainingError(
                    f"step {number}: the loss is {loss.item()} ({parts}); nothing was updated. {_blame(batch)}"
                )
            loss.backward()
            for name, value in {"loss": loss.item(), **parts}.items():
                metrics[name] = metrics.get(name, 0.0) + value
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(trained, self.training.clip)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {number}: the gradient norm is {norm.item()}; nothing was updated. {_blame(batches[0])}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # their memory serves what comes next: a rollout, a checkpoint
        return metrics | {"grad_norm": norm.item()}


def _blame(batch: Batch) -> str:
    prompt = next(node.text for node in batch.packed.nodes if node.parent is None)
    return f"A prompt in the micro-batch: {prompt[:60]!r}. Try a lower training.lr, or look for a bad row there"


def make_optimizer(model: Model, training: Training) -> torch.optim.AdamW:
    """AdamW over the trainable weights; vectors (biases, norms) do not decay.

    Raises:
        TrainingError: no weight requires a gradient.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not any(parameter.requires_grad for parameter in model.hf.parameters()):
        raise TrainingError("no weight of the model requires a gradient; for a model.copy(), call requires_grad_(True)")
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=training.lr, betas=training.betas, fused=True
    )
