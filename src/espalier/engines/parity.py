"""Do the sampler and the trainer agree? Log-probs as sampled beside those of a replay through the training forward.

A policy gradient takes the sampled log-probs for those of the policy. Where the engine computes something else (another
precision, a stale weight, a wrong mask) the gradient is silently off-policy, so a run measures this before it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from espalier.models import Model, Outputs, Packed, encode, pack
from espalier.trees import Node, Tree


@dataclass(frozen=True, slots=True)
class Parity:
    """How far sampled log-probs are from replayed ones.

    Attributes:
        max_abs: the largest difference of one token, in nats.
        mean_abs: the mean difference of a token, in nats.
        n_tokens: how many tokens were compared.
        cut_mass: mean probability mass that top-p/top-k cut from a token; the sampled log-probs do not know of it, so
            it is what makes the rollouts off-policy even where the differences are 0.
    """

    max_abs: float
    mean_abs: float
    n_tokens: int
    cut_mass: float


def replay(
    model: Model, trees: Iterable[Tree], temperature: float, forward: Callable[[Packed], Outputs] | None = None
) -> Parity:
    """Compare every sampled log-prob in the trees with the model's own at the temperature they were sampled at.

    Trees are run one by one, so memory is that of the largest. Temperature 0 means log-probs at temperature 1, as the
    engine gives them. Nodes without log-probs (prompts, what people wrote) are context only.

    Args:
        forward: the pass to compare with, such as a training loop's own with its precision; it must apply the
            temperature. The model in evaluation mode by default.

    Raises:
        ValueError: no node has log-probs, or one has another number of them than of tokens.
    """
    total, largest, count, cut = 0.0, 0.0, 0, 0.0
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for tree in trees:
            sampled = [node for node in tree.walk() if node.logprobs]
            if not sampled:
                continue
            encode([tree], model.tokenizer, model.fingerprint)
            packed = pack([tree], targets=_was_sampled, device=model.device)
            with torch.no_grad():
                outputs = forward(packed) if forward else model(packed, temperature=temperature or 1.0)
            found = outputs.logprobs
            assert found is not None
            asked = torch.tensor([value for node in packed.nodes if _was_sampled(node) for value in _logprobs(node)])
            gap = (found.double().cpu() - asked.double()).abs()
            total, largest, count = total + gap.sum().item(), max(largest, gap.max().item()), count + len(gap)
            cut += sum(node.meta.get("cut_mass", 0.0) * len(_logprobs(node)) for node in sampled)
    finally:
        for module, mode in modes:
            module.training = mode
    if not count:
        raise ValueError("no node has sampled log-probs to compare with; sample with an engine first")
    return Parity(largest, total / count, count, cut / count)


def _was_sampled(node: Node) -> bool:
    return bool(node.logprobs)


def _logprobs(node: Node) -> list[float]:
    assert node.logprobs is not None
    if node.token_ids is None or len(node.logprobs) != len(node.token_ids):
        raise ValueError(
            f"a node has {len(node.logprobs)} log-probs for {len(node.token_ids or [])} tokens; sample it again"
        )
    return node.logprobs
