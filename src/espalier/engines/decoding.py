"""Continuous batching: a batch of rows takes a token a step; rows that end leave, and waiting ones enter.

What a prefix lacks is prefilled once, when the first of its rows enters, if it can in one pass with the next tokens of
the rows that run; its first tokens are drawn from the hidden state of its last, which is held. Where only that last
token is lacking (a step goes on), the first row leads: it computes the token as one of its own. What a row computed is
held when it leaves. Where heads are read, a row that has ended stays for one step, so that its last token goes through
the model with the others' and leaves its states too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from espalier.engines.base import Sampling
from espalier.engines.batch import Batch, Held
from espalier.engines.prefill import Pass, passes
from espalier.engines.rows import Request, Rows, Sampled
from espalier.engines.sampler import draw, uniforms
from espalier.engines.sharing import anchors
from espalier.engines.stops import StopStrings
from espalier.engines.store import HIDDEN, Store
from espalier.engines.trie import Edge, Ids
from espalier.errors import EngineError
from espalier.models import Model
from espalier.models.heads import read_out
from espalier.models.logprobs import logit_rule, output_layer
from espalier.trees import Stop

_FREE = 1 / 16  # places are filled when so many are free: each time costs a little


class Decoding:
    """Requests that are sampled in one batch; more may be added while it runs.

    Attributes:
        prefilled: how many prefix tokens of each group went through the model.
    """

    def __init__(
        self,
        model: Model,
        store: Store,
        sampling: Sampling,
        *,
        places: int,
        stops: StopStrings | None,
        ends: Sequence[int],
        heads: Sequence[str],
    ) -> None:
        self.model, self.store, self.sampling, self.places = model, store, sampling, places
        self.stops, self.ends, self.heads = stops, ends, heads
        self.requests: list[Request] = []
        self.prefilled: Counter[int] = Counter()
        self._trunk: nn.Module = model.hf.base_model
        self._output, self._rule = output_layer(model.hf), logit_rule(model.hf)
        self._rows, self._batch, self._waiting = Rows(places), Batch(store), 0
        self._trie = store.trie
        self._results: dict[int, Sampled] = {}
        # What is held of a prefix stays until its last row has left.
        self._left: Counter[int] = Counter()
        self._pins: dict[int, Edge] = {}
        self._found: dict[int, int] = {}  # how many tokens of a prefix were held when it was pinned

    def add(self, requests: Sequence[Request]) -> range:
        """Let these wait for places; returns their numbers. Their groups are new ones."""
        first = len(self.requests)
        self.requests += requests
        self._left.update(request.group for request in requests)
        for request in requests:
            if request.group not in self._pins:
                self._pin(request.group, *self.store.trie.walk(request.prefix))
        return range(first, len(self.requests))

    @property
    def unanswered(self) -> int:
        """How many requests run or wait."""
        return self._rows.active + len(self.requests) - self._waiting

    def advance(self) -> list[int]:
        """Draw a token of each row that runs, or the first of those that enter; returns the requests that are done."""
        if self.store.trie is not self._trie:
            raise EngineError(
                "the engine forgot what rows under way go on from: its weights or its device changed, forget() was "
                "called, or a call beside theirs failed; let the search end first"
            )
        free = self.places - self._rows.active
        if self._waiting < len(self.requests) and free >= max(1, _FREE * self.places):
            return self._step(self._forward_with(self._entering(free)))
        return self._step(self._forward(self._rows.active, None))

    def _forward_with(self, entering: range) -> Float[Tensor, "rows width"]:
        """A pass in which these requests are seated, all of whose rows can draw then."""
        paths = self._paths(entering)
        leading = self._leading(entering, paths)
        riding = self._prefill(edge for edge in paths if edge not in leading)
        rows = {index: paths[self._end(index)] for index in entering}
        rows |= {index: _but_last(paths[edge]) for edge, index in leading.items()}
        seats = dict(zip(entering, self._batch.free([*rows.values()]), strict=True))
        self._enter(leading.values(), seats, rows)
        running = self._rows.active
        hidden = [self._forward(running, riding)] if running or riding else []
        self._hold_led(leading)
        led = set(leading.values())
        following = [index for index in entering if index not in led]
        self._enter(following, seats, rows)
        order = self._batch.sort()
        self._rows.keep(order)
        return torch.cat([*hidden, self._ends_of_prefixes(following)])[torch.from_numpy(order).to(self.store.device)]

    def _step(self, hidden: Float[Tensor, "rows width"]) -> list[int]:
        """A token of each row from what the model made of the last one; returns the requests that are done."""
        rows, now = self._rows, np.arange(self._rows.active)
        over = rows.over[now]
        if over.any():
            self._read_heads(now[over], hidden[torch.from_numpy(over).to(hidden.device)])
            hidden = hidden[torch.from_numpy(~over).to(hidden.device)]
        ended = self._draw(now[~over], hidden)
        leaving = now[over] if self.heads else ended
        if not len(leaving):
            return []
        return self._leave(leaving, self._hold(leaving))

    def result(self, number: int) -> Sampled:
        """What a request that is done came to, given out once."""
        return self._results.pop(number)

    def likeliest(self, k: int) -> list[tuple[list[int], list[float]]]:
        """For each request the `k` likeliest tokens after its prefix, best first, and their log-probs in nats."""
        found: list[tuple[list[int], list[float]]] = []
        while self._waiting < len(self.requests):
            entering = self._entering(self.places)
            if riding := self._prefill(map(self._end, entering)):
                self._forward(0, riding)
            logprobs = self._logits(self._ends_of_prefixes(entering)).log_softmax(-1)
            best = logprobs.topk(min(k, logprobs.shape[-1]))
            found += zip(best.indices.tolist(), best.values.tolist(), strict=True)
            self._release(self.requests[index].group for index in entering)
        return found

    def _entering(self, free: int) -> range:
        """The next requests, for so many places; what their prefixes lack has slots now."""
        first, self._waiting = self._waiting, min(len(self.requests), self._waiting + free)
        prefixes = {request.group: request.prefix for request in self.requests[first : self._waiting]}
        self.store.reserve(sum(len(prefix) - self._found[group] for group, prefix in prefixes.items()))
        for group, prefix in prefixes.items():
            before, pinned, found = self.store.held, self._pins[group], self._found[group]
            after = pinned if pinned.end == found else None  # else it forks within that run
            end = self.store.hold(prefix[found if after else 0 :], ready=False, after=after)
            self._pin(group, end, len(prefix))
            self.prefilled[group] += self.store.held - before
        return range(first, self._waiting)

    def _end(self, index: int) -> Edge:
        """Where the prefix of a request ends."""
        return self._pins[self.requests[index].group]

    def _paths(self, entering: range) -> dict[Edge, Held]:
        """What the rows of each prefix of these go on from."""
        soon = self.requests[entering.start : entering.start + self.places]
        split = anchors(Counter(self._pins[request.group] for request in soon))
        paths = dict[Edge, Held]()
        for edge in dict.fromkeys(map(self._end, entering)):
            there = next((above.end for above in edge.above() if above in self._batch.groups), 0)
            shared, own = np.split(edge.path(), [max(there, split[edge].end)])
            paths[edge] = Held(shared, own, edge)
        return paths

    def _leading(self, entering: range, paths: Mapping[Edge, Held]) -> dict[Edge, int]:
        """Requests that compute the last token of their prefix, which is all that is lacking, as their own."""
        return {
            edge: index
            for index in reversed(entering)  # the first of each prefix stands
            for edge in [self._end(index)]
            if len(edge.tokens) == 1 < edge.end
            and not (edge.ready or edge.children)
            and edge.parent is not None
            and edge.parent.ready
            and len(paths[edge].own)
        }

    def _prefill(self, ends: Iterable[Edge]) -> Pass | None:
        """Compute what is lacking up to these, but for the last pass, which may take running rows along."""
        lacking = passes(ends)
        for edges in lacking[:-1]:
            self._forward(0, Pass(edges, self.store))
        return Pass(lacking[-1], self.store) if lacking else None

    def _enter(self, entering: Collection[int], seats: Mapping[int, np.int64], rows: Mapping[int, Held]) -> None:
        """Let requests take their seats."""
        if not entering:
            return
        for index in entering:
            self._rows.enter(index, self.requests[index])
        self._batch.enter(np.asarray([seats[index] for index in entering]), [rows[index] for index in entering])

    def _hold_led(self, leading: Mapping[Edge, int]) -> None:
        """The rows that entered last have computed the last tokens of their prefixes."""
        if leading:
            last = np.arange(self._rows.active - len(leading), self._rows.active)
            self._batch.keep(last, [edge.slots for edge in leading])
        for edge in leading:
            edge.ready = True

    def _ends_of_prefixes(self, entering: Iterable[int]) -> Float[Tensor, "entering width"]:
        """The held hidden states that the first tokens of these rows are drawn from."""
        slots = np.asarray([self._end(index).slots[-1] for index in entering], dtype=np.int64)
        return self.store.read(HIDDEN, torch.from_numpy(slots).to(self.store.device))

    def _forward(self, running: int, riding: Pass | None) -> Float[Tensor, "running width"]:
        """One pass of the model: the latest token of each running row (or of none), and prefixes that ride along."""
        rows, batch, device = self._rows, self._batch, self.store.device
        tokens, positions = rows.latest()[:running], rows.start[:running] + rows.count[:running] - 1
        if running:
            batch.begin()
        if riding is not None:
            tokens, positions = np.append(tokens, riding.tokens), np.append(positions, riding.positions)

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
            done = []
            if running:
                done.append(batch.attend(layer, query[:running], key[:running], value[:running], scaling))
            if riding is not None:
                q, k, v = (x[running:, :, 0] for x in (query, key, value))
                done.append(riding.attend(layer, q, k, v, scaling)[:, None])
            return torch.cat(done) if len(done) > 1 else done[0]

        hidden: Tensor = self._trunk(
            input_ids=torch.from_numpy(tokens)[:, None].to(device),
            position_ids=torch.from_numpy(positions)[:, None].to(device),
            use_cache=False,
            attend=attend,
        ).last_hidden_state[:, 0]
        if running:
            batch.remember(hidden[:running])
        if riding is not None:
            riding.finish(hidden[running:])
        return hidden[:running]

    def _draw(self, now: NDArray[np.int64], hidden: Float[Tensor, "now width"]) -> NDArray[np.int64]:
        """One token for each of these rows; returns those that end with it."""
        if not len(now):
            return now
        rows, sampling = self._rows, self.sampling
        uniform = torch.from_numpy(uniforms(rows.stream[now], rows.count[now])).to(hidden.device)
        drawn = draw(self._logits(hidden), uniform, sampling.temperature, sampling.top_p, sampling.top_k)
        cut = None if drawn.cut is None else drawn.cut.cpu().numpy()
        rows.record(now, drawn.tokens.cpu().numpy(), drawn.logprobs.cpu().numpy(), cut)
        ended = _ended(rows, now, self.ends, self.stops)
        for row, stop in ended.items():
            self._results[int(rows.request[row])] = rows.sampled(row, stop)
            rows.over[row] = True
        return np.asarray(sorted(ended), dtype=np.int64)

    def _logits(self, hidden: Float[Tensor, "now width"]) -> Float[Tensor, "now vocabulary"]:
        with torch.autocast(hidden.device.type, enabled=False):  # as training computes them
            return self._rule(self._output(hidden.to(self._output.weight.dtype)).float())

    def _read_heads(self, now: NDArray[np.int64], hidden: Float[Tensor, "now width"]) -> None:
        for name in self.heads:
            values = read_out(self.model._head(name, hidden), self.model.link(name))
            for request, value in zip(self._rows.request[now].tolist(), values.tolist(), strict=True):
                self._results[request].values[name] = value

    def _hold(self, leaving: NDArray[np.int64]) -> list[Edge | None]:
        """Put what these rows computed into the store, as far as it has room; returns where it ends there."""
        rows, store = self._rows, self.store
        computed = rows.count[leaving] - (0 if self.heads else 1)
        room = store.reserve(int(computed.sum()))
        whose, slots, ends = list[int](), list[Ids](), list[Edge | None]()
        for row, count in zip(leaving.tolist(), computed.tolist(), strict=True):
            if count > room:
                ends.append(None)
                continue
            prefix, before = self._pins[int(rows.group[row])], store.held
            edge = store.hold(rows.tokens[row, 1 : count + 1].copy(), ready=True, after=prefix)
            ends.append(edge)
            if new := store.held - before:  # all of the edge; else another row drew the same
                room -= new
                whose.append(row)
                slots.append(edge.slots)
        if slots:
            self._batch.keep(np.asarray(whose), slots)
        return ends

    def _leave(self, leaving: NDArray[np.int64], ends: Sequence[Edge | None]) -> list[int]:
        left: list[int] = self._rows.request[leaving].tolist()
        self._release(self._rows.group[leaving].tolist())
        self._rows.keep(self._batch.leave(leaving, ends))
        return left

    def _release(self, groups: Iterable[int]) -> None:
        """A row of each is done."""
        for group in groups:
            self._left[group] -= 1
            if not self._left[group]:
                self._pins.pop(group).pins -= 1
                del self._found[group]

    def _pin(self, group: int, edge: Edge, found: int) -> None:
        edge.pins += 1
        if group in self._pins:
            self._pins[group].pins -= 1
        self._pins[group], self._found[group] = edge, found


def _but_last(row: Held) -> Held:
    """The same but for the last token, which is a run of its own."""
    assert row.end.parent is not None
    return Held(row.shared, row.own[:-1], row.end.parent)


def _ended(rows: Rows, now: NDArray[np.int64], ends: Sequence[int], stops: StopStrings | None) -> dict[int, Stop]:
    """Which of these rows end with the token just drawn, and why; an end token goes before a stop string."""
    tokens = rows.latest()[now]
    ended: dict[int, Stop] = dict.fromkeys(now[rows.count[now] >= rows.limit[now]].tolist(), "length")
    if stops is not None and len(maybe := now[stops.may_complete(tokens)].tolist()):
        before, tails = zip(*(rows.tail(row, stops.tail) for row in maybe), strict=True)
        met = stops.met(before, tails)
        ended |= {row: "stop" for row, hit in zip(maybe, met, strict=True) if hit}
    ended |= dict.fromkeys(now[np.isin(tokens, ends)].tolist(), "eos")
    return ended
