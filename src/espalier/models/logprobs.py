"""Log-probabilities straight from hidden states, a chunk of rows at a time.

The matrix of logits, [targets, vocabulary], would be the largest tensor of a training step. It never exists: each chunk
of it is made, reduced to one log-prob a row, and made again in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from espalier.errors import ModelError

CHUNK = 2**21  # logits at a time: 8 MiB in fp32


@dataclass(frozen=True, slots=True)
class LogitRule:
    """What a model does to `hidden @ weight + bias` before the softmax.

    Attributes:
        scale: multiplies the logits (Cohere, Granite).
        cap: then `cap * tanh(logits / cap)` (Gemma); None for no cap.
        temperature: divides the result.
    """

    scale: float = 1.0
    cap: float | None = None
    temperature: float = 1.0

    def __call__(self, raw: Float[Tensor, "rows vocabulary"]) -> Float[Tensor, "rows vocabulary"]:
        logits = raw.mul_(self.scale) if self.scale != 1 else raw
        if self.cap is not None:
            logits = logits.div_(self.cap).tanh_().mul_(self.cap)
        return logits.div_(self.temperature) if self.temperature != 1 else logits

    def backward_(self, grad: Tensor, logits: Tensor) -> Tensor:
        """The gradient of the raw logits, in place of `grad`, that of the final `logits`."""
        if self.cap is not None:
            grad.mul_(1 - (logits * (self.temperature / self.cap)).square_())
        factor = self.scale / self.temperature
        return grad.mul_(factor) if factor != 1 else grad


def logit_rule(hf: PreTrainedModel, temperature: float = 1.0) -> LogitRule:
    """The rule of this model, read from its config."""
    if not temperature > 0:
        raise ValueError(f"the temperature of log-probs must be positive, found {temperature}")
    config = hf.config.get_text_config()
    scale = 1.0
    for name in ("logit_scale", "lm_head_multiplier"):
        scale *= getattr(config, name, None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return LogitRule(scale, getattr(config, "final_logit_softcapping", None), temperature)


def output_layer(hf: PreTrainedModel) -> nn.Linear:
    """The layer that turns hidden states into logits.

    Raises:
        ModelError: the model has none, as a reward or value model.
    """
    layer = hf.get_output_embeddings()
    if layer is None:
        raise ModelError(f"{type(hf).__name__} is a scorer and has no log-probabilities; load a causal language model")
    return layer


def logprobs(
    hidden: Float[Tensor, "targets width"],
    token_ids: Int[Tensor, "targets"],
    weight: Float[Tensor, "vocabulary width"],
    bias: Float[Tensor, "vocabulary"] | None = None,
    rule: LogitRule | None = None,
    *,
    entropy: bool = False,
) -> tuple[Float[Tensor, "targets"], Float[Tensor, "targets"] | None]:
    """The log-prob of each token id under its row's distribution, and that distribution's entropy; both in nats.

    The softmax is taken in fp32 (fp64 for fp64 states), whatever the type of the states.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    # Autocast does not reach into a Function's backward pass, so the types are settled here.
    if dtype != torch.float64:
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    found, spread = _LogProbs.apply(hidden, token_ids, weight, bias, rule or LogitRule(), entropy)
    return found, spread if entropy else None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, ids: Tensor, weight: Tensor, bias: Tensor | None, rule: LogitRule, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        kind = torch.promote_types(hidden.dtype, torch.float32)
        rows = len(ids)
        found, normaliser = hidden.new_empty(rows, dtype=kind), hidden.new_empty(rows, dtype=kind)
        spread = hidden.new_empty(rows if entropy else 0, dtype=kind)
        for part in _chunks(rows, weight.shape[0]):
            logits = _logits(hidden[part], weight, bias, rule, kind)
            total = logits.logsumexp(1)
            normaliser[part] = total
            found[part] = logits.gather(1, ids[part, None])[:, 0] - total
            if entropy:
                # A token of probability 0 adds nothing, not 0 * -inf.
                logits = logits.sub_(total[:, None])
                spread[part] = -(logits.exp() * logits.clamp_min_(torch.finfo(kind).min)).sum(1)
        ctx.save_for_backward(hidden, ids, weight, bias, normaliser, spread)
        ctx.rule, ctx.entropy = rule, entropy
        return found, spread

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_found: Tensor, grad_spread: Tensor) -> tuple[Tensor | None, ...]:
        hidden, ids, weight, bias, normaliser, spread = ctx.saved_tensors
        need_hidden, _, need_weight, need_bias = ctx.needs_input_grad[:4]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=normaliser.dtype) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=normaliser.dtype) if need_bias else None
        for part in _chunks(len(ids), weight.shape[0]):
            logits = _logits(hidden[part], weight, bias, ctx.rule, normaliser.dtype)
            # d found / d logit = 1[token] - p;  d entropy / d logit = -p (log p + entropy)
            log_p = logits - normaliser[part, None]
            p = log_p.exp()
            slope = -grad_found[part, None]
            if ctx.entropy:
                slope = slope - grad_spread[part, None] * (
                    log_p.clamp_min(torch.finfo(p.dtype).min) + spread[part, None]
                )
            grad = p.mul_(slope)
            grad[torch.arange(len(grad), device=grad.device), ids[part]] += grad_found[part]
            grad = ctx.rule.backward_(grad, logits)
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            grad = grad.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(grad, weight, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight += grad.t() @ hidden[part]
        return (
            grad_hidden,
            None,
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
        )


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, rule: LogitRule, kind: torch.dtype) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        raw = hidden @ weight.t() if bias is None else torch.addmm(bias, hidden, weight.t())
    return rule(raw.to(kind))


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK // vocabulary)
    return [slice(begin, min(begin + size, rows)) for begin in range(0, rows, size)]
