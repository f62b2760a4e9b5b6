"""Continue texts with a model in this process: batched sampling with shared prefixes.

One batch of rows runs at a time; a row that ends leaves, and once a quarter of the batch is free, waiting rows enter.
Equal prefixes are prefilled once, whoever asks for them, and the cache stores them once for all their rows. What is
*not* here: sharing between prefixes that only begin alike (each distinct prefix is prefilled whole), cancelled
requests, and more than one device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from espalier.engines.base import Sampling
from espalier.engines.cache import NAME, GroupedCache, Prefill, States
from espalier.engines.linears import fast_linears
from espalier.engines.rows import Request, Rows, Sampled
from espalier.engines.sampler import Drawn, draw, streams, uniforms
from espalier.engines.stops import Decoder, StopStrings
from espalier.errors import ConfigError, ContextLengthError, EngineError, ModelError
from espalier.models import Model, token_path
from espalier.models.capability import tree_obstacle, window
from espalier.trees import Ledger, Node, Stop

_PREFILL_TOKENS = 1024  # prefix tokens that go through the model at a time; more leave a processor's cache


class LocalEngine:
    """An `Engine` over a model in this process.

    What a row draws depends on the sampling seed, its prefix's tokens and its number among the prefix's n samples; not
    on the batch size or on the other prefixes (up to rounding of the logits). The first k of n samples are the k
    samples that n = k gives.

    Attributes:
        spent: tokens, calls and seconds so far; a prefix that several rows or entries share is counted once a call.
        context_length: the most tokens a text may have, also within the model's sliding window where it has one.

    Args:
        model: a causal language model. Its weights are read at each call, so an engine stays valid while it is trained.
        batch_size: how many rows run at a time. Larger is faster until the cache leaves the processor's own.

    Raises:
        EngineError: the model is no causal language model, or its layers do not take an attention of ours.
    """

    def __init__(self, model: Model, *, batch_size: int = 256) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, found {batch_size}")
        name = type(model.hf).__name__
        if model.hf.get_output_embeddings() is None:
            raise EngineError(f"{name} has no language-model head to sample from; load a causal language model")
        if obstacle := tree_obstacle(model.hf):
            raise EngineError(f"the local engine cannot sample from {name}: {obstacle}; serve it with another engine")
        self.model = model
        self.batch_size = batch_size
        self.spent = Ledger()
        self.context_length = min(model.context_length, window(model.hf) or model.context_length)
        self._decoder = Decoder(model.tokenizer)

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
        if n < 1:
            raise ConfigError(f"n must be at least 1, found {n}")
        if not prefixes:
            return []
        started = time.perf_counter()
        stops = StopStrings(self._decoder, sampling.stop) if sampling.stop else None
        paths = [self._path(prefix) for prefix in prefixes]
        requests = self._requests(paths, n, sampling)
        groups = {request.group: request.prefix for request in requests}
        # Long prefixes first: rows in one batch then have prefixes of like length, and too long a batch fails at once.
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].prefix), requests[i].group))
        with self._ready():
            sampled = dict(zip(order, self._run([requests[i] for i in order], sampling, stops), strict=True))
        flat = self._nodes([sampled[i] for i in range(len(requests))], requests, sampling)
        self.spent += Ledger(
            generated=sum(len(result.tokens) for result in sampled.values()),
            prefilled=sum(map(len, groups.values())),
            calls=1,
            seconds=time.perf_counter() - started,
        )
        for prefix in prefixes:
            prefix.root().meta["tokenizer"] = self.model.fingerprint
        return [flat[i : i + n] for i in range(0, len(flat), n)]

    def _path(self, prefix: Node) -> list[int]:
        """The prefix's tokens, checked."""
        path = prefix.path()
        if any(node.stop == "eos" for node in path):
            raise ValueError(
                f"the response to {_beginning(prefix)} has ended (a node on its path has stop='eos'); "
                "extend its parent for an alternative, or set stop to None to go on after a turn"
            )
        theirs = path[0].meta.get("tokenizer", self.model.fingerprint)
        if theirs != self.model.fingerprint and any(node.token_ids is not None for node in path):
            raise ModelError(
                f"the tree of {_beginning(prefix)} has token ids of tokenizer {theirs}, but this model's tokenizer is "
                f"{self.model.fingerprint}; use the model that made them, or clear the nodes' token_ids and logprobs"
            )
        ids = token_path(prefix, self.model.tokenizer)
        if not ids:
            raise EngineError("a prefix has no token, so nothing predicts the next one; give it a text")
        if len(ids) >= self.context_length:
            raise ContextLengthError(
                f"the prompt that begins {_beginning(prefix)} has {len(ids)} tokens, and the model's context is "
                f"{self.context_length}: no room for another token; shorten the prompt"
            )
        return ids

    def _requests(self, paths: list[list[int]], n: int, sampling: Sampling) -> list[Request]:
        """n requests for each path, in order; equal paths share a group."""
        groups: dict[tuple[int, ...], int] = {}
        seen: dict[int, int] = {}
        requests = []
        for ids in paths:
            group = groups.setdefault(tuple(ids), len(groups))
            occurrence = seen[group] = seen.get(group, -1) + 1
            limit = min(sampling.max_tokens, self.context_length - len(ids))
            requests += [Request(group, ids, key, limit) for key in streams(sampling.seed, ids, occurrence, n)]
        return requests

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """The model as sampling needs it: no gradients, no dropout, our attention; everything as before afterwards."""
        hf = self.model.hf
        modes, attention = [(module, module.training) for module in hf.modules()], hf.config._attn_implementation
        hf.eval()
        hf.set_attn_implementation(NAME)
        try:
            with torch.inference_mode(), fast_linears(hf):
                yield
        finally:
            hf.set_attn_implementation(attention)
            for module, mode in modes:
                module.training = mode

    def _run(self, requests: list[Request], sampling: Sampling, stops: StopStrings | None) -> list[Sampled]:
        """Sample every request, `batch_size` rows at a time."""
        places = min(self.batch_size, len(requests))
        rows, cache, waiting = Rows(places), GroupedCache(places, self.model.device), 0
        results: list[Sampled | None] = [None] * len(requests)
        ends = self._end_tokens()
        while rows.active or waiting < len(requests):
            if waiting < len(requests) and rows.active <= places * 3 // 4:
                entering = range(waiting, min(len(requests), waiting + places - rows.active))
                for index in entering:
                    rows.enter(index, requests[index])
                waiting = entering.stop
                self._store(cache, rows, {requests[index].group: requests[index].prefix for index in entering})
            drawn = self._step(rows, cache, sampling)
            rows.record(
                drawn.tokens.cpu().numpy(),
                drawn.logprobs.cpu().numpy(),
                None if drawn.cut is None else drawn.cut.cpu().numpy(),
            )
            ended = _ended(rows, ends, stops)
            for row, stop in ended.items():
                results[rows.request[row]] = rows.sampled(row, stop)
            if ended:
                cache.move(*rows.leave(np.fromiter(ended, dtype=np.int64)))
                # The next waiting row may share the prefix of rows that ended.
                needed = {*rows.group[: rows.active].tolist(), *(r.group for r in requests[waiting : waiting + 1])}
                if 2 * len(needed) <= len(cache.groups):
                    cache.retain(needed)
                cache.seat(rows.group[: rows.active])
        return [result for result in results if result is not None]

    def _store(self, cache: GroupedCache, rows: Rows, prefixes: dict[int, list[int]]) -> None:
        """Make room in the cache, prefill those of these prefixes that it does not hold, and seat the rows."""
        cache.retain(set(rows.group[: rows.active].tolist()))
        new = [group for group in prefixes if group not in cache.groups]
        lengths, parts, begin = [len(prefixes[group]) - 1 for group in new], [], 0
        while begin < len(new):
            # Longest first, so the first one's length is what all are padded to.
            end = begin + max(1, _PREFILL_TOKENS // len(prefixes[new[begin]]))
            parts.append(self._prefill([prefixes[group] for group in new[begin:end]]))
            begin = end
        if new:
            cache.add(new, lengths, parts)
        cache.seat(rows.group[: rows.active])

    def _prefill(self, prefixes: list[list[int]]) -> States:
        """Keys and values of all of each prefix but its last token, which every row of it runs as its first step."""
        tokens = torch.zeros(len(prefixes), max(1, len(prefixes[0]) - 1), dtype=torch.long)
        for row, ids in zip(tokens, prefixes, strict=True):
            row[: len(ids) - 1] = torch.tensor(ids[:-1])
        tokens = tokens.to(self.model.device)
        prefill = Prefill()
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        self.model.hf.base_model(input_ids=tokens, position_ids=positions, use_cache=False, attend=prefill.attend)
        return prefill.states

    def _step(self, rows: Rows, cache: GroupedCache, sampling: Sampling) -> Drawn:
        """One token for every active row."""
        count = rows.count[: rows.active]
        cache.begin(count)
        uniform = torch.from_numpy(uniforms(rows.stream[: rows.active], count))
        tokens, positions = torch.from_numpy(rows.latest()), torch.from_numpy(rows.start[: rows.active] + count - 1)
        logits: Float[Tensor, "rows 1 vocabulary"] = self.model.hf(
            input_ids=tokens[:, None].to(self.model.device),
            position_ids=positions[:, None].to(self.model.device),
            use_cache=False,
            attend=cache.attend,
        ).logits
        return draw(logits[:, 0], uniform.to(self.model.device), sampling.temperature, sampling.top_p, sampling.top_k)

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
            )
            for text, result in zip(texts, sampled, strict=True)
        ]


def _ended(rows: Rows, ends: list[int], stops: StopStrings | None) -> dict[int, Stop]:
    """The active rows that end with the token just drawn, and why; an end token goes before a stop string."""
    tokens = rows.latest()
    ended: dict[int, Stop] = dict.fromkeys(
        np.flatnonzero(rows.count[: rows.active] >= rows.limit[: rows.active]).tolist(), "length"
    )
    if stops is not None and len(maybe := np.flatnonzero(stops.may_complete(tokens)).tolist()):
        before, tails = zip(*(rows.tail(row, stops.tail) for row in maybe), strict=True)
        met = stops.met(before, tails)
        ended |= {row: "stop" for row, hit in zip(maybe, met, strict=True) if hit}
    ended |= dict.fromkeys(np.flatnonzero(np.isin(tokens, ends)).tolist(), "eos")
    return ended


def _beginning(prefix: Node) -> str:
    text = prefix.full_text()
    return repr(text if len(text) <= 60 else text[:57] + "...")
