"""The process rewards that a policy stands for: each step's share of beta * log(policy / reference).

Yuan et al. 2024 (arXiv 2412.01981): a policy that was trained on outcomes only (`Implicit`, or `DPO` with any loss) is
a process reward model. A step's reward is the difference of the prefix sums before and after it; added up
(`Steps(scorer, "sum")`) they are the response's implicit reward.
"""

from __future__ import annotations

from collections.abc import Iterable

from espalier.models import Model, Packed
from espalier.models.numerics import Setting
from espalier.scorers.models import ImplicitReward
from espalier.trees import Node


class ImplicitProcess(ImplicitReward):
    """Judges every step that the policy or a human wrote, all from one pass of each model over the tree. Nats * beta.

    Args:
        model: trained on outcomes.
        reference: the policy before training; None for the same model with its adapter switched off.
        beta: that of the training.

    Raises:
        ModelError: the two have different tokenizers.
    """

    def __init__(
        self,
        model: Model,
        reference: Model | None,
        beta: float,
        name: str = "process",
        tokens: int = 8192,
        precision: Setting = "auto",
    ) -> None:
        super().__init__(model, reference, beta, name, tokens, precision)

    def wants(self, node: Node) -> bool:
        return node.author in ("policy", "human")

    def judge(self, packed: Packed) -> Iterable[tuple[Node, float]]:
        rewards = self.token_rewards(packed)
        sums = rewards.new_zeros(len(packed.nodes)).index_add(0, packed.target_segment, rewards)
        return zip(packed.nodes, sums.tolist(), strict=True)
