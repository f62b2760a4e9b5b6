"""Log-probabilities straight from hidden states, a tile of logits at a time.

The matrix of logits, [targets, vocabulary], would be the largest tensor of a training step. It never exists: a tile of
it, some rows by some of the vocabulary, is made, reduced to a few numbers a row, and made again in the backward pass;
only the first tiles, up to a fixed budget, are kept for it. Tiles span many rows, so that the output matrix and its
gradient, which may be larger than all else, are read once for many targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from espalier.errors import ModelError
from espalier.models.in_place import sum_of

TILE, ROWS = 2**21, 1024  # logits at a time (8 MiB in fp32), and of how many targets
KEEP = 2**23  # logits that wait for the backward pass: 32 MiB in fp32

# The log-probs of each row's likeliest tokens, best first, and their ids: two tensors [targets, k].
Top = tuple[Float[Tensor, "targets k"], Int[Tensor, "targets k"]]


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

    def slope(self, logits: Float[Tensor, "rows vocabulary"]) -> Tensor | float:
        """The derivative of the final `logits` by the raw ones."""
        factor = self.scale / self.temperature
        if self.cap is None:
            return factor
        return (logits * (self.temperature / self.cap)).square_().neg_().add_(1).mul_(factor)


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
    top: int = 0,
) -> tuple[Float[Tensor, "targets"], Float[Tensor, "targets"] | None, Top | None]:
    """The log-prob of each token id under its row's distribution, that distribution's entropy, and its best tokens.

    The softmax is taken in fp32 (fp64 for fp64 states), whatever the type of the states.

    Args:
        entropy: also the entropy of each row, in nats.
        top: also the log-probs of the `top` likeliest tokens of each row, best first, and their ids.

    Raises:
        ValueError: `top` is more than the vocabulary.
    """
    if not 0 <= top <= len(weight):
        raise ValueError(f"top must be between 0 and the vocabulary's {len(weight)} tokens, found {top}")
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    # Autocast does not reach into a Function's backward pass, so the types are settled here.
    total = sum_of(weight) if torch.is_grad_enabled() else None
    if dtype != torch.float64:
        hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    found, spread, ids = _LogProbs.apply(hidden, token_ids, weight, bias, rule or LogitRule(), entropy, top, total)
    return found[:, 0], spread if entropy else None, (found[:, 1:], ids[:, 1:]) if top else None


class _LogProbs(torch.autograd.Function):
    """Log-probs of the tokens `picked` from each row: its target, then its best."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        ids: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rule: LogitRule,
        entropy: bool,
        top: int,
        total_grad: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kind = torch.promote_types(hidden.dtype, torch.float32)
        found = hidden.new_empty(len(ids), 1 + top, dtype=kind)
        picked = ids.new_empty(len(ids), 1 + top)
        normaliser, spread = found.new_empty(len(ids)), found.new_empty(len(ids))
        room = KEEP if any(ctx.needs_input_grad) else 0
        kept: list[Tensor | None] = []
        for rows in _slices(len(ids), ROWS):
            target = found.new_zeros(rows.stop - rows.start)
            total, inner = torch.full_like(target, float("-inf")), torch.zeros_like(target)
            best, best_ids = found.new_empty(len(target), 0), ids.new_empty(len(target), 0)
            for words in _slices(len(weight), TILE // len(target)):
                logits = _logits(hidden[rows], weight, bias, words, rule, kind)
                place, inside = _within(ids[rows, None], words)
                target += (logits.gather(1, place) * inside)[:, 0]
                here = logits.logsumexp(1)
                both = torch.logaddexp(total, here)
                if entropy:  # of a choice in two steps: this tile or those before, then the token
                    before, now = (total - both).exp_(), (here - both).exp_()
                    inner = before * inner + now * _entropy(logits, here) + torch.special.entr(before)
                    inner += torch.special.entr(now)
                total = both
                if top:
                    values, places = logits.topk(min(top, logits.shape[1]), 1)
                    best, order = torch.cat([best, values], 1).topk(min(top, words.stop), 1)
                    best_ids = torch.cat([best_ids, places + words.start], 1).gather(1, order)
                room -= logits.numel()
                kept.append(logits if room >= 0 else None)
            found[rows] = torch.cat([target[:, None], best], 1) - total[:, None]
            picked[rows] = torch.cat([ids[rows, None], best_ids], 1)
            normaliser[rows], spread[rows] = total, inner
        ctx.save_for_backward(hidden, picked, weight, bias, normaliser, spread, *kept)
        ctx.rule, ctx.entropy, ctx.total_grad = rule, entropy, total_grad
        ctx.mark_non_differentiable(picked)
        return found, spread, picked

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_found: Tensor, grad_spread: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, picked, weight, bias, normaliser, spread, *kept = ctx.saved_tensors
        kind, rule = normaliser.dtype, ctx.rule
        need_hidden, _, need_weight, need_bias = ctx.needs_input_grad[:4]
        grad_hidden = torch.zeros_like(hidden, dtype=kind) if need_hidden else None
        grad_weight = ctx.total_grad
        if need_weight and grad_weight is None:
            grad_weight = torch.zeros_like(weight, dtype=kind)
        grad_bias = torch.zeros_like(bias, dtype=kind) if need_bias else None
        waiting = iter(kept)
        for rows in _slices(len(picked), ROWS):
            ours = grad_found[rows]
            for words in _slices(len(weight), TILE // len(ours)):
                logits = next(waiting)
                if logits is None:
                    logits = _logits(hidden[rows], weight, bias, words, rule, kind)
                # d found / d logit = 1[token] - p;  d entropy / d logit = -p (log p + entropy)
                log_p = logits - normaliser[rows, None]
                if ctx.entropy:
                    slope = log_p.clamp_min(torch.finfo(kind).min).add_(spread[rows, None])
                    slope = slope.mul_(-grad_spread[rows, None]).sub_(ours.sum(1, keepdim=True))
                else:
                    slope = -ours.sum(1, keepdim=True)
                grad = log_p.exp_().mul_(slope)
                place, inside = _within(picked[rows], words)
                grad.scatter_add_(1, place, ours * inside)
                factor = rule.slope(logits)
                if isinstance(factor, Tensor) or factor != 1:
                    grad.mul_(factor)
                if grad_bias is not None:
                    grad_bias[words] += grad.sum(0)
                grad = grad.to(hidden.dtype)
                if grad_hidden is not None:
                    _add_product(grad_hidden[rows], grad, weight[words])
                if grad_weight is not None:
                    _add_product(grad_weight[words], grad.t(), hidden[rows])
        return (
            None if grad_hidden is None else grad_hidden.to(hidden.dtype),
            None,
            None if grad_weight is None or grad_weight is ctx.total_grad else grad_weight.to(weight.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None,
            None,
            None,
            None,
        )


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, words: slice, rule: LogitRule, kind: torch.dtype
) -> Float[Tensor, "rows words"]:
    with torch.autocast(hidden.device.type, enabled=False):
        part = weight[words].t()
        raw = hidden @ part if bias is None else torch.addmm(bias[words], hidden, part)
    return rule(raw.to(kind))


def _entropy(logits: Float[Tensor, "rows words"], normaliser: Float[Tensor, "rows"]) -> Float[Tensor, "rows"]:
    # A token of probability 0 adds nothing, not 0 * -inf.
    log_p = (logits - normaliser[:, None]).clamp_min_(torch.finfo(logits.dtype).min)
    return -(log_p.exp() * log_p).sum(1)


def _within(ids: Int[Tensor, "rows some"], words: slice) -> tuple[Int[Tensor, "rows some"], Bool[Tensor, "rows some"]]:
    """Each token's column in the tile, and whether it is there at all (if not, any column)."""
    inside = (ids >= words.start) & (ids < words.stop)
    return (ids - words.start).clamp_(0, words.stop - words.start - 1), inside


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:  # a sum over tiles is kept in fp32
        total += left @ right


def _slices(count: int, size: int) -> list[slice]:
    size = max(1, size)
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]
