"""The rows of a running batch: what is sampled next, and what each row has drawn so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from espalier.trees import Stop

_FIRST_WIDTH = 64


@dataclass(slots=True)
class Request:
    """One continuation to be sampled.

    Attributes:
        group: which distinct prefix it continues.
        prefix: the prefix's tokens.
        stream: the key of its random numbers.
        limit: at most this many tokens.
    """

    group: int
    prefix: list[int]
    stream: np.uint64
    limit: int


@dataclass(slots=True)
class Sampled:
    """A finished continuation.

    Attributes:
        cut: the mean probability mass that top-p/top-k cut from a token.
        values: what each head says at the last token.
    """

    tokens: list[int]
    logprobs: list[float]
    stop: Stop
    cut: float
    values: dict[str, float] = field(default_factory=dict)


class Rows:
    """Places 0 to `active` - 1 hold running rows, without holes.

    Attributes:
        request: the index of each row's request.
        group, stream, limit: of the request.
        start: the position of the row's first new token.
        count: how many tokens the row has drawn.
        over: whether the row has drawn its last token.
        tokens: column 0 is the prefix's last token, then what was drawn.
    """

    def __init__(self, places: int) -> None:
        self.active = 0
        self.request = np.zeros(places, dtype=np.int64)
        self.group = np.zeros(places, dtype=np.int64)
        self.stream = np.zeros(places, dtype=np.uint64)
        self.limit = np.zeros(places, dtype=np.int64)
        self.start = np.zeros(places, dtype=np.int64)
        self.count = np.zeros(places, dtype=np.int64)
        self.over = np.zeros(places, dtype=bool)
        self.cut = np.zeros(places, dtype=np.float64)
        self.tokens = np.zeros((places, 1 + _FIRST_WIDTH), dtype=np.int64)
        self.logprobs = np.zeros((places, 1 + _FIRST_WIDTH), dtype=np.float32)

    def enter(self, index: int, request: Request) -> None:
        """Seat a request in the next free place."""
        row = self.active
        self.request[row], self.group[row], self.stream[row] = index, request.group, request.stream
        self.limit[row], self.start[row] = request.limit, len(request.prefix)
        self.count[row], self.cut[row], self.tokens[row, 0] = 0, 0.0, request.prefix[-1]
        self.over[row] = False
        self.active += 1

    def record(
        self,
        rows: NDArray[np.int64],
        tokens: NDArray[np.int64],
        logprobs: NDArray[np.float32],
        cut: NDArray[np.float32] | None,
    ) -> None:
        """Append one drawn token to each of these rows."""
        self.count[rows] += 1
        count = self.count[rows]
        if count.max(initial=0) >= self.tokens.shape[1]:
            self.tokens = np.concatenate((self.tokens, np.zeros_like(self.tokens)), 1)
            self.logprobs = np.concatenate((self.logprobs, np.zeros_like(self.logprobs)), 1)
        self.tokens[rows, count], self.logprobs[rows, count] = tokens, logprobs
        if cut is not None:
            self.cut[rows] += cut

    def latest(self) -> NDArray[np.int64]:
        """Each active row's last token, the one that the model sees next."""
        return self.tokens[np.arange(self.active), self.count[: self.active]]

    def tail(self, row: int, n: int) -> tuple[int, list[int]]:
        """The row's last `n` drawn tokens (fewer where there are fewer), and the token before them."""
        end = int(self.count[row]) + 1
        begin = max(1, end - n)
        return int(self.tokens[row, begin - 1]), self.tokens[row, begin:end].tolist()

    def sampled(self, row: int, stop: Stop) -> Sampled:
        count = int(self.count[row])
        drawn = slice(1, count + 1)
        return Sampled(
            self.tokens[row, drawn].tolist(), self.logprobs[row, drawn].tolist(), stop, float(self.cut[row]) / count
        )

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Let the others go; these lie in this order from now on."""
        for column in (
            self.request, self.group, self.stream, self.limit, self.start, self.count,
            self.over, self.cut, self.tokens, self.logprobs,
        ):  # fmt: skip
            column[: len(rows)] = column[rows]
        self.active = len(rows)
