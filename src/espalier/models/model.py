"""A language model, its tokenizer, heads and adapter: packed trees in, log-probs and values out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from espalier.errors import ContextLengthError, ModelError
from espalier.losses import Support
from espalier.models import adapters
from espalier.models.capability import check_logits, tree_hidden, tree_obstacle, window
from espalier.models.heads import HeadName, Link, new_head, outputs, read_out
from espalier.models.layers import fast_layers
from espalier.models.logprobs import Top, logit_rule, logprobs, output_layer
from espalier.models.packing import Packed
from espalier.models.padded import padded_hidden
from espalier.models.tokenizers import fingerprint

Layout = Literal["tree", "padded"]


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a forward pass gives.

    Attributes:
        logprobs: nats, of each target given what stands before it on its path.
        entropy: nats, of the distribution that each target was drawn from.
        heads: each head that was asked for, raw (before any sigmoid or softmax), at every token.
        top: at each target, the log-probs of the likeliest tokens, best first, and their ids.
        links: what each of these heads stands for.
    """

    logprobs: Float[Tensor, "targets"] | None = None
    entropy: Float[Tensor, "targets"] | None = None
    heads: dict[str, Float[Tensor, "tokens"] | Float[Tensor, "tokens bins"]] = field(default_factory=dict)
    top: Top | None = None
    links: dict[str, Link] = field(default_factory=dict)

    def value(self, name: str) -> Float[Tensor, "tokens"]:
        """What a head says at every token, read out; gradients flow."""
        return read_out(self.heads[name], self.links[name])


class Model(nn.Module):
    """An unmodified Hugging Face model with what training and scoring need around it.

    Attributes:
        hf: the transformers model: a causal language model, or a classification model for a saved scorer.
        tokenizer: its tokenizer.
        heads: linear heads on the trunk's last hidden states, "value" and "reward".
        fingerprint: the tokenizer's fingerprint.
        context_length: the most tokens a path may have.
    """

    def __init__(self, hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.hf = hf
        self.tokenizer = tokenizer
        self.heads = nn.ModuleDict()
        self.fingerprint = fingerprint(tokenizer)
        config = hf.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length
        self.context_length = int(min(limit, 2**31 - 1))
        self._links: dict[str, Link] = {}
        self._obstacle: str | None = None
        self._tried = self._checked = False

    @property
    def device(self) -> torch.device:
        return self.hf.device

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.dtype

    def add_head(self, name: HeadName, *, link: Link) -> None:
        """Add a fresh head of zeros.

        Args:
            link: "probability" if the sigmoid of the head is the value, "real" if the head itself is; a `Support` for
                a head with an output for each bin, whose value is the mean of their softmax.

        Raises:
            ModelError: there is one already, or (for a reward head) padding cannot be told from the end of a text.
        """
        if name in self.heads:
            raise ModelError(f"the model already has a {name} head")
        eos, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        if name == "reward" and (pad is None or pad == eos):
            raise ModelError(
                "a saved reward model finds a text's end by its padding, but this tokenizer's pad token is "
                f"{'missing' if pad is None else 'its end-of-text token'}; set tokenizer.pad_token to another token"
            )
        self.heads[name] = new_head(self.hf.config, name, outputs(link)).to(self.device, self.dtype)
        self._links[name] = link

    def link(self, name: str) -> Link:
        """How the head's number is read; see `add_head`."""
        if name not in self._links:
            raise ModelError(
                f"the model has no {name} head (it has: {', '.join(self.heads) or 'none'}); add_head first"
            )
        return self._links[name]

    def add_lora(self, rank: int = 8, alpha: int = 16, targets: str | list[str] = "all-linear") -> None:
        """Freeze the trunk and train low-rank updates of its linear layers instead; heads stay trainable."""
        if adapters.lora_layers(self.hf):
            raise ModelError("the model already has an adapter")
        adapters.add_lora(self.hf, rank, alpha, targets)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Inside, the model is what it was before `add_lora`.

        Raises:
            ModelError: there is no adapter to switch off; use `copy()` for a reference policy.
        """
        layers = adapters.lora_layers(self.hf)
        if not layers:
            raise ModelError("the model has no adapter to switch off; use model.copy() for a reference policy")
        with adapters.adapters_off(layers):
            yield

    def forward(
        self,
        packed: Packed,
        *,
        logprobs: bool = True,
        heads: tuple[str, ...] = (),
        entropy: bool = False,
        top: int = 0,
        temperature: float = 1.0,
        tokens: Int[Tensor, "targets"] | None = None,
        detached: bool = False,
        layout: Layout | None = None,
    ) -> Outputs:
        """Log-probs of the targets and head values at every token.

        Args:
            packed: from `pack`, on this model's device.
            entropy: also the entropy at each target.
            top: also this many of the likeliest tokens at each target.
            temperature: divides the logits.
            tokens: the log-probs of these are given, not those of the targets; what stands before each is as it was.
            detached: no gradient flows from the heads into the model that they stand on.
            layout: "tree" runs shared prefixes once, "padded" each path as a row; None takes the tree where the
                model's layers can, and says once where they cannot.

        Raises:
            ContextLengthError: a path is longer than the context.
            ModelError: a head that is not there, log-probs of a scorer, or layout "tree" where it is not possible.
        """
        for name in heads:
            self.link(name)
        hidden = self.hidden(packed, layout)
        found, spread, best = None, None, None
        if logprobs or entropy or top:
            found, spread, best = self._logprobs(hidden, packed, temperature, entropy, top, tokens)
        seen = hidden.detach() if detached else hidden
        values = {name: self._head(name, seen) for name in heads}
        return Outputs(found if logprobs else None, spread, values, best, {name: self.link(name) for name in heads})

    def hidden(self, packed: Packed, layout: Layout | None = None) -> Float[Tensor, "tokens width"]:
        """The trunk's last hidden state at every token; see `forward`."""
        self._check_length(packed)
        states = tree_hidden if self._layout(packed, layout) == "tree" else padded_hidden
        # A layer that is recomputed in the backward pass must be as it was in the forward pass.
        plain = any(getattr(module, "gradient_checkpointing", False) for module in self.hf.modules())
        with nullcontext() if plain else fast_layers(self.hf.base_model):
            return states(self.hf.base_model, packed)

    def copy(self) -> Model:
        """A frozen copy in evaluation mode: a reference policy."""
        return copy.deepcopy(self).requires_grad_(False).eval()

    def save(self, folder: str | Path, kind: Literal["causal", "reward", "value"] = "causal") -> None:
        """Write an ordinary Hugging Face folder; see `espalier.models.saving.save`."""
        from espalier.models.saving import save

        save(self, Path(folder), kind)

    def _logprobs(
        self, hidden: Tensor, packed: Packed, temperature: float, entropy: bool, top: int, tokens: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Top | None]:
        layer = output_layer(self.hf)
        if not self._checked:
            check_logits(self.hf)
            self._checked = True
        states = hidden.index_select(0, packed.predictors)
        ids = packed.token_ids[packed.targets] if tokens is None else tokens
        rule = logit_rule(self.hf, temperature)
        return logprobs(states, ids, layer.weight, layer.bias, rule, entropy=entropy, top=top)

    def _head(
        self, name: str, hidden: Float[Tensor, "tokens width"]
    ) -> Float[Tensor, "tokens"] | Float[Tensor, "tokens bins"]:
        head = self.heads[name]
        assert isinstance(head, nn.Linear)
        with torch.autocast(hidden.device.type, enabled=False):
            raw = head(hidden.to(head.weight.dtype)).float()
        return raw if isinstance(self.link(name), Support) else raw[:, 0]

    def _layout(self, packed: Packed, asked: Layout | None) -> Layout:
        if asked == "padded":
            return "padded"
        if not self._tried:
            self._obstacle = tree_obstacle(self.hf)
            self._tried = True
        limit, obstacle = window(self.hf), self._obstacle
        if obstacle is None and limit is not None and int(packed.positions.max()) >= limit:
            obstacle = f"a path of {int(packed.positions.max()) + 1} tokens passes its sliding window of {limit}"
        if obstacle is None:
            return "tree"
        message = f"{type(self.hf).__name__} cannot run packed trees: {obstacle}"
        if asked == "tree":
            raise ModelError(message)
        _warn_once(f"{message}; using padded batches, in which shared prefixes are run once for each path")
        return "padded"

    def _check_length(self, packed: Packed) -> None:
        longest = int(packed.positions.max()) + 1 if len(packed.positions) else 0
        if longest > self.context_length:
            segment = int(packed.segment[packed.positions.argmax()])
            tree = packed.trees[segment]
            raise ContextLengthError(
                f"tree {tree.id!r} (prompt {tree.prompt[:60]!r}): a path has {longest} tokens, the model's context "
                f"{self.context_length}; shorten or drop it, or use a model with a longer context"
            )


_said: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        warnings.warn(message, stacklevel=4)
