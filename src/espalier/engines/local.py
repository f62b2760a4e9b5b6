"""Continue texts with a model in this process: batched sampling that computes no held prefix again.

The engine holds the states of what it prefilled and sampled, on a radix tree over tokens, between calls too. A call
computes only what is not held: a sampled step that is continued, the siblings of a branch, and prompts that begin alike
pay for their own tokens alone. Where the model's weights were written since, all of it is forgotten. What is *not*
here: cancelled requests, and more than one device.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from espalier.engines.attention import NAME
from espalier.engines.base import Sampling
from espalier.engines.candidates import next_token_nodes
from espalier.engines.decoding import Decoding
from espalier.engines.layers import Casts, fast_layers
from espalier.engines.prefixes import prefix_tokens
from espalier.engines.rows import Request, Sampled
from espalier.engines.sampler import streams
from espalier.engines.session import Session, side_by_side
from espalier.engines.stops import Decoder, StopStrings
from espalier.engines.store import Store
from espalier.errors import ConfigError, EngineError
from espalier.models import Model
from espalier.models.capability import check_logits, tree_obstacle, window
from espalier.models.heads import HeadName
from espalier.models.numerics import Setting, resolve_precision, settle_process
from espalier.models.weights import Weights
from espalier.trees import Ledger, Node, Score


class LocalEngine:
    """An `Engine` over a model in this process.

    What a row draws depends on the sampling seed, its prefix's tokens and its number among the prefix's n samples; not
    on the batch size or on the other prefixes (up to rounding of the logits). The first k of n samples are the k
    samples that n = k gives.

    Attributes:
        spent: tokens, calls and seconds so far; `prefilled` counts the prefix tokens that went through the model, not
            those that were held.
        context_length: the most tokens a text may have, also within the model's sliding window where it has one.

    Args:
        model: a causal language model. Its weights are read at each call, so an engine stays valid while it is trained.
        batch_size: how many rows run at a time. Larger is faster until the cache leaves the processor's own.
        memory: GiB of keys, values and hidden states held between calls; what was used least is forgotten first. A call
            that needs more for its own prefixes takes more until it returns.
        heads: scalar heads of the model, read at each new node's last token in the pass that samples, and written to
            its `scores` under their names, as `ValueScorer` does.
        precision: of matrix products; "auto" is what training and scoring choose on the same machine.

    Raises:
        EngineError: the model is no causal language model, or its layers do not take an attention of ours.
        ModelError: a head that the model does not have, or logits that it changes in an unknown way.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int = 256,
        memory: float = 2.0,
        heads: Sequence[HeadName] = (),
        precision: Setting = "auto",
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, found {batch_size}")
        if memory < 0:
            raise ConfigError(f"memory must not be negative, found {memory}")
        name = type(model.hf).__name__
        if model.hf.get_output_embeddings() is None:
            raise EngineError(f"{name} has no language-model head to sample from; load a causal language model")
        if obstacle := tree_obstacle(model.hf):
            raise EngineError(f"the local engine cannot sample from {name}: {obstacle}; serve it with another engine")
        check_logits(model.hf)
        settle_process()
        for head in heads:
            model.link(head)
        self.model = model
        self.tokenizer = model.tokenizer
        self.batch_size = batch_size
        self.heads = tuple(heads)
        self.precision = precision
        self.spent = Ledger()
        self.context_length = min(model.context_length, window(model.hf) or model.context_length)
        self._decoder = Decoder(model.tokenizer)
        self._store = Store(int(memory * 2**30), model.device)
        self._weights = Weights.of(model)
        self._casts: Casts = {}
        self._groups = itertools.count()
        self._open = 0  # sessions

    def forget(self) -> None:
        """Drop all held states, and their memory. Needed only where weights were written through `parameter.data`."""
        self._store.clear()
        self._casts.clear()

    def extend(self, prefixes: Sequence[Node], n: int, sampling: Sampling) -> list[list[Node]]:
        """See `espalier.engines.base.Engine.extend`.

        Where top-p or top-k cut the distribution, `meta["cut_mass"]` of a node is the mean mass they cut from a token.
        The prefixes' roots get the tokenizer's fingerprint in their `meta["tokenizer"]`.

        Raises:
            ContextLengthError: a prefix leaves no room for a token.
            ConfigError: n < 1, or an empty stop string.
            EngineError: a prefix without a token, or the model's logits are not finite.
            ModelError: a tree holds token ids of another tokenizer.
            ValueError: a prefix has ended already.
        """
        with self.session(places=n * len(prefixes)) as session:
            asked = session.begin(prefixes, n, sampling)
            session.proceed()
        return asked.answer

    @contextmanager
    def session(self, places: int | None = None) -> Iterator[Session]:
        """Calls that run in one batch, of as many rows as the engine's and no more than `places`.

        An engine may be called while a session of its is open, but not trained or told to forget.
        """
        session = Session(self, min(places or self.batch_size, self.batch_size))
        self._open += 1
        try:
            yield session
        finally:
            self._open -= 1
            if session.unanswered:
                self._store.clear()  # rows that were given up keep what they go on from
            elif not self._open:
                self._store.settle()

    def next_tokens(self, prefixes: Sequence[Node], k: int) -> list[list[Node]]:
        """See `espalier.engines.base.TokenEngine.next_tokens`; raises as `extend` does."""
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        if not prefixes:
            return []
        started, sampling = time.perf_counter(), Sampling(max_tokens=1)
        requests = self._requests(self._paths(prefixes), 1, sampling)
        order = side_by_side(requests, prefixes)
        with self._ready():
            decoding = self._decoding(sampling, min(self.batch_size, len(requests)))
            decoding.add([requests[i] for i in order])
            found = dict(zip(order, decoding.likeliest(k), strict=True))
            if not self._open:
                self._store.settle()
        self.spent += Ledger(
            generated=len(prefixes),
            prefilled=decoding.prefilled.total(),
            calls=1,
            seconds=time.perf_counter() - started,
        )
        for prefix in prefixes:
            prefix.root().meta["tokenizer"] = self.model.fingerprint
        before, told = [request.prefix[-1] for request in requests], [found[i] for i in range(len(requests))]
        return next_token_nodes(self._decoder, before, told, self._end_tokens())

    def _paths(self, prefixes: Sequence[Node]) -> list[list[int]]:
        return prefix_tokens(prefixes, self.model.tokenizer, self.model.fingerprint, self.context_length)

    def _decoding(self, sampling: Sampling, places: int) -> Decoding:
        return Decoding(
            self.model,
            self._store,
            sampling,
            places=places,
            stops=StopStrings(self._decoder, sampling.stop) if sampling.stop else None,
            ends=self._end_tokens(),
            heads=self.heads,
        )

    def _requests(self, paths: list[list[int]], n: int, sampling: Sampling) -> list[Request]:
        """n requests for each path, in order; equal paths share a group."""
        groups: dict[tuple[int, ...], int] = {}
        seen: dict[int, int] = {}
        requests = []
        for ids in paths:
            group = groups.get(key := tuple(ids))
            if group is None:
                group = groups[key] = next(self._groups)
            occurrence = seen[group] = seen.get(group, -1) + 1
            limit = min(sampling.max_tokens, self.context_length - len(ids))
            requests += [Request(group, ids, stream, limit) for stream in streams(sampling.seed, ids, occurrence, n)]
        return requests

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The model as sampling needs it: no gradients, no dropout, our attention; everything as before afterwards."""
        hf = self.model.hf
        self._check_weights()
        training, attention = [module for module in hf.modules() if module.training], hf.config._attn_implementation
        for module in training:
            module.training = False
        hf.set_attn_implementation(NAME)
        try:
            with torch.inference_mode(), fast_layers(hf, resolve_precision(self.precision, self.model), self._casts):
                yield
        except BaseException:
            self._store.clear()  # it may have slots whose states were not computed
            raise
        finally:
            hf.set_attn_implementation(attention)
            for module in training:
                module.training = True

    def _check_weights(self) -> None:
        """Forget what other weights computed."""
        weights = Weights.of(self.model)
        if not weights.same(self._weights) or self.model.device != self._store.device:
            self._store.clear()  # for those who still go on from it
            self._store = Store(self._store.budget, self.model.device)
            self._casts = {}
        self._weights = weights

    def _end_tokens(self) -> list[int]:
        """Every token that ends a text: of the generation config, the model's config and the tokenizer."""
        hf, found = self.model.hf, set[int]()
        for ids in (hf.generation_config.eos_token_id, hf.config.eos_token_id, self.model.tokenizer.eos_token_id):
            found.update(ids if isinstance(ids, list) else [] if ids is None else [ids])
        return sorted(found)

    def _nodes(self, sampled: list[Sampled], requests: list[Request], sampling: Sampling) -> list[Node]:
        texts = self._decoder.texts(
            [request.prefix[-1] for request in requests],
            [result.tokens[:-1] if result.stop == "eos" else result.tokens for result in sampled],
        )
        cuts = sampling.temperature > 0 and (sampling.top_p < 1 or sampling.top_k > 0)
        return [
            Node(
                text,
                token_ids=result.tokens,
                logprobs=result.logprobs,
                stop=result.stop,
                meta={"cut_mass": result.cut} if cuts else {},
                scores={name: _score(value) for name, value in result.values.items()},
            )
            for text, result in zip(texts, sampled, strict=True)
        ]


def _score(value: float) -> Score:
    return Score(value) if math.isfinite(value) else Score.absent(f"the model's output is {value}")
