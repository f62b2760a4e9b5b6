"""What a training method must say of itself; the loop knows no more than this.

A recipe is a typed record of settings with three short methods: which trees it can learn from, what it prepares for a
micro-batch, and which un-reduced terms it descends. To add a method, write one such class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from espalier.engines.base import Sampling
from espalier.losses import Term
from espalier.models import Outputs, Packed
from espalier.models.heads import Link
from espalier.training.batch import Batch
from espalier.training.config import Strict
from espalier.training.order import order
from espalier.trees import Forest, Node, Tree


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a recipe may look at when it prepares a micro-batch; nothing here carries a gradient.

    Attributes:
        forward: the model as it is now.
        reference: log-probs [targets] under the reference policy, or the ids of its likeliest tokens; only for a recipe
            with `needs_reference`.
    """

    forward: Callable[..., Outputs]
    reference: Callable[[Packed], Float[Tensor, "targets"]]


@dataclass(frozen=True, slots=True)
class Rolling:
    """What an online recipe may ask for within a step; the same step gives the same answers again.

    Attributes:
        roll: sampled and scored responses to prompts (a tree's own branches are left out), and what they were like.
        fresh: that many other prompts, new ones at each call.
    """

    roll: Callable[[Sequence[Tree]], tuple[Forest, dict[str, float]]]
    fresh: Callable[[int], list[Tree]]


class Recipe(Strict):
    """A training method.

    Class attributes:
        key: its name in configs and on the command line.
        head: the head that it trains, if any, and `link`, what that head's number is.
        saves: what kind of model comes out.
        entropy, top: what its terms want of each target beside the log-prob; see `Model.forward`.
        detached: whether the head alone learns, and the model that it stands on stays as it is.
        greedy: whether it asks its reference for the likeliest token at each target, not for the log-prob there.
    """

    key: ClassVar[str]
    head: ClassVar[Literal["value", "reward"] | None] = None
    saves: ClassVar[Literal["causal", "value", "reward"]] = "causal"
    entropy: ClassVar[bool] = False
    top: ClassVar[int] = 0
    detached: ClassVar[bool] = False
    greedy: ClassVar[bool] = False

    @property
    def link(self) -> Link:
        return "real"

    @property
    def needs_reference(self) -> bool:
        return False

    @property
    def stored_reference(self) -> str | None:
        """The stream whose log-probs the recipe measures from; None for those of the policy that training starts from.

        Only a recipe that learns from stored responses can name one.
        """
        return None

    @property
    def follows(self) -> tuple[float, int] | None:
        """The rate at which the reference follows the policy, and every how many steps; None where it stays."""
        return None

    @property
    def needs_logprobs(self) -> bool:
        return True

    @property
    def temperature(self) -> float:
        """Divides the logits of every log-prob in training, so that they are those of the sampler."""
        return 1.0

    def targets(self, node: Node) -> bool:
        """Whether this node's tokens are learned from."""
        return node.author in ("policy", "human")

    def select(self, forest: Forest) -> Forest:
        """The trees that can be learned from.

        Raises:
            TrainingError: there is none; says what was looked for.
        """
        raise NotImplementedError

    def draw(self, forest: Forest, seed: int, number: int, size: int) -> list[Tree]:
        """The trees of step `number`."""
        return [forest[i] for i in order(len(forest), seed, number * size, size)]

    def observe(
        self, trees: Sequence[Tree], frozen: Frozen, packs: Callable[[Sequence[Tree]], Iterable[Packed]]
    ) -> dict[str, float]:
        """More numbers of a step, from passes without gradients over a few trees, made before its updates.

        Args:
            trees: the step's own; for an online recipe all that was sampled.
            packs: lays trees end to end.
        """
        return {}

    def batch(self, packed: Packed, frozen: Frozen) -> Batch:
        """Weights and streams of a micro-batch, computed once before the step's updates."""
        raise NotImplementedError

    def settle(self, batches: Sequence[Batch]) -> None:
        """Whatever must see the whole step at once, such as normalising advantages."""

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Term]:
        """The un-reduced terms. A term of scale 0 is only reported."""
        raise NotImplementedError


class Online(Recipe):
    """A recipe that learns from what the policy itself writes: prompts in, rollouts scored, then updates."""

    n: int = Field(8, ge=2, description="responses sampled for each prompt")
    max_tokens: int = Field(256, ge=1, description="longest response")
    sampling_temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    updates: int = Field(
        1, ge=1, description="optimiser updates from one rollout, each on its own share of the prompts"
    )
    passes: int = Field(1, ge=1, description="times that each rollout is gone over")
    parity_limit: float = Field(0.02, gt=0, description="refuse to train above this mean |replayed - sampled| in nats")
    missing_limit: float = Field(0.05, ge=0, le=1, description="refuse to train above this share of missing rewards")

    @property
    def temperature(self) -> float:
        return self.sampling_temperature

    def sampling(self, seed: int) -> Sampling:
        return Sampling(self.max_tokens, self.sampling_temperature, self.top_p, self.top_k, seed=seed)

    def select(self, forest: Forest) -> Forest:
        """Every prompt, bare."""
        return forest.prompts()

    def collect(self, trees: list[Tree], rolling: Rolling) -> tuple[list[Tree], dict[str, float]]:
        """The trees that a step learns from, by default all that the policy writes on the step's prompts.

        Where there is none, the step makes no update.
        """
        rolled, metrics = rolling.roll(trees)
        return list(rolled), metrics


def report(values: Float[Tensor, "items"], unit: Literal["token", "step", "response", "pair"]) -> Term:
    """A term that is reported and not descended."""
    return Term(values.detach(), unit, scale=0.0)
