"""Trees as Arrow columns, one row a node, and back.

| column | type | meaning |
|---|---|---|
| `tree` | int64 | the tree's place in the forest |
| `id` | string | the tree's id, on each of its rows |
| `node` | int32 | the node's place in its tree; parents come before children, the root is 0 |
| `parent` | int32 | the parent's `node`; null for the root |
| `text`, `author`, `stop` | string | as in `Node`; `stop` may be null |
| `token_ids` | list of int32 | null where the node was never tokenised, which differs from an empty list |
| `logprobs` | list of float32 | nats; engines compute in at most float32, so nothing they give is rounded |
| `scores` | list of (name, value, spread, missing) | float64; exactly one of `value` and `missing` is null |
| `meta` | string | the node's meta as JSON (NaN and infinities as Python writes them); null for none |
| `tree_meta` | string | likewise the tree's, on the root's row |
| `streams` | list of (name, path, values) | as in `Node`, float32; null for none, and absent in older files |
"""

from __future__ import annotations

import json
from array import array
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from espalier.errors import DataError, EspalierError
from espalier.trees.node import AUTHORS, STOPS, Node, Score, Tree
from espalier.trees.streams import Stream

SCORE = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("spread", pa.float64()),
        pa.field("missing", pa.string()),
    ]
)
STREAM = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("path", pa.int64(), nullable=False),
        pa.field("values", pa.list_(pa.float32()), nullable=False),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("tree", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("node", pa.int32(), nullable=False),
        pa.field("parent", pa.int32()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("author", pa.string(), nullable=False),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("logprobs", pa.list_(pa.float32())),
        pa.field("stop", pa.string()),
        pa.field("scores", pa.list_(SCORE), nullable=False),
        pa.field("meta", pa.string()),
        pa.field("tree_meta", pa.string()),
        pa.field("streams", pa.list_(STREAM)),
    ]
)
REQUIRED = [name for name in SCHEMA.names if name != "streams"]
"""The columns that every file of a forest has, the oldest included."""


class Columns:
    """Rows gathered column by column until there are enough for a table."""

    def __init__(self) -> None:
        self.plain: dict[str, list[Any]] = {
            name: [] for name in ("tree", "id", "node", "parent", "text", "author", "stop", "meta", "tree_meta")
        }
        self.token_ids, self.token_ends = array("i"), [0]
        self.logprobs, self.logprob_ends = array("f"), [0]
        self.scores: dict[str, list[Any]] = {name: [] for name in ("name", "value", "spread", "missing")}
        self.score_ends = [0]
        self.streams: dict[str, list[Any]] = {name: [] for name in ("name", "path")}
        self.stream_ends = [0]
        self.stream_values, self.stream_value_ends = array("f"), [0]
        self.no_streams: list[bool] = []
        self.no_tokens: list[bool] = []
        self.no_logprobs: list[bool] = []

    def __len__(self) -> int:
        return len(self.plain["node"])

    def add(self, tree: Tree, place: int) -> None:
        """Append a tree's rows; a tree that cannot be stored leaves no trace.

        Raises:
            EspalierError: a value that the columns cannot hold, with the tree and node named.
        """
        every = [*self.plain.values(), *self.scores.values(), self.token_ids, self.token_ends, self.logprobs]
        every += [self.logprob_ends, self.score_ends, self.no_tokens, self.no_logprobs, self.no_streams]
        every += [*self.streams.values(), self.stream_ends, self.stream_values, self.stream_value_ends]
        lengths = [len(column) for column in every]
        try:
            self._add(tree, place)
        except BaseException:
            for column, length in zip(every, lengths, strict=True):
                del column[length:]
            raise

    def _add(self, tree: Tree, place: int) -> None:
        plain, scores = self.plain, self.scores
        places: dict[int, int] = {}
        index = -1
        try:
            tree_meta = json.dumps(tree.meta) if tree.meta else None
            tree.id.encode()
            for index, node in enumerate(tree.walk()):
                places[id(node)] = index
                _check(node)
                plain["parent"].append(places[id(node.parent)] if index else None)
                plain["text"].append(node.text)
                plain["author"].append(node.author)
                plain["stop"].append(node.stop)
                plain["meta"].append(json.dumps(node.meta) if node.meta else None)
                self.token_ids.fromlist(node.token_ids or [])
                self.token_ends.append(len(self.token_ids))
                self.no_tokens.append(node.token_ids is None)
                self.logprobs.fromlist(node.logprobs or [])
                self.logprob_ends.append(len(self.logprobs))
                self.no_logprobs.append(node.logprobs is None)
                for name, score in node.scores.items():
                    scores["name"].append(name)
                    scores["value"].append(score.value)
                    scores["spread"].append(score.spread)
                    scores["missing"].append(score.missing)
                self.score_ends.append(len(scores["name"]))
                for name, stream in node.streams.items():
                    self.streams["name"].append(name)
                    self.streams["path"].append(stream.path)
                    self.stream_values.frombytes(np.asarray(stream.values, np.float32).tobytes())
                    self.stream_value_ends.append(len(self.stream_values))
                self.stream_ends.append(len(self.streams["name"]))
                self.no_streams.append(not node.streams)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            where = f"node {index}" if index >= 0 else "its id or meta"
            raise EspalierError(f"tree {tree.id!r} (number {place}), {where}, cannot be stored: {error}") from error
        plain["tree"] += [place] * (index + 1)
        plain["id"] += [tree.id] * (index + 1)
        plain["node"] += range(index + 1)
        plain["tree_meta"] += [tree_meta] + [None] * index

    def table(self) -> pa.Table:
        """Everything added so far."""
        scores = [pa.array(self.scores[field.name], field.type) for field in SCORE]
        streams = [pa.array(self.streams[name], STREAM.field(name).type) for name in ("name", "path")]
        streams.append(_lists(self.stream_value_ends, np.frombuffer(self.stream_values, np.float32)))
        lists = {
            "token_ids": _lists(self.token_ends, np.frombuffer(self.token_ids, np.int32), self.no_tokens),
            "logprobs": _lists(self.logprob_ends, np.frombuffer(self.logprobs, np.float32), self.no_logprobs),
            "scores": _lists(self.score_ends, pa.StructArray.from_arrays(scores, fields=list(SCORE))),
            "streams": _lists(
                self.stream_ends, pa.StructArray.from_arrays(streams, fields=list(STREAM)), self.no_streams
            ),
        }
        arrays = [
            lists[field.name] if field.name in lists else pa.array(self.plain[field.name], field.type)
            for field in SCHEMA
        ]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _check(node: Node) -> None:
    """Refuse what would come back changed, or not at all."""
    if node.author not in AUTHORS:
        raise ValueError(f"author {node.author!r} is not one of {', '.join(AUTHORS)}")
    if node.stop is not None and node.stop not in STOPS:
        raise ValueError(f"stop {node.stop!r} is not one of {', '.join(STOPS)}")
    if not node.text.isascii():
        node.text.encode()  # a lone surrogate has no UTF-8 form
    for name in node.streams:
        name.encode()
    for name, score in node.scores.items():
        name.encode()
        if score.missing is not None:
            score.missing.encode()


def _lists(ends: list[int], values: Any, null: list[bool] | None = None) -> pa.ListArray:
    mask = pa.array(null, pa.bool_()) if null and any(null) else None
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values), mask=mask)


def trees(table: pa.Table, file: str, first_row: int) -> list[Tree]:
    """The trees whose rows a table holds. `first_row` (counted from 0) is where it starts in the file, for messages.

    Raises:
        DataError: rows that are not whole trees, or values that no tree has.
    """
    if "streams" not in table.column_names:
        kind = SCHEMA.field("streams").type
        table = table.append_column("streams", pa.nulls(table.num_rows, kind))
    try:
        rows = table.select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise DataError(file, None, None, f"columns of other types ({error})", f"{SCHEMA}") from error
    _check_links(rows, file, first_row)
    column = {name: rows[name].to_pylist() for name in REQUIRED if name not in ("tree", "scores")}
    scores = _scores(rows["scores"].combine_chunks())
    streams = _streams(rows["streams"].combine_chunks())
    found: list[Tree] = []
    nodes: list[Node] = []
    for i, parent in enumerate(column["parent"]):
        meta = column["meta"][i]
        node = Node(
            column["text"][i],
            column["author"][i],
            column["token_ids"][i],
            column["logprobs"][i],
            column["stop"][i],
            scores[i],
            json.loads(meta) if meta else {},
            streams[i],
        )
        if parent is None:
            tree_meta = column["tree_meta"][i]
            nodes = [node]
            found.append(Tree(node, column["id"][i], json.loads(tree_meta) if tree_meta else {}))
        else:
            node.parent = nodes[parent]
            nodes[parent].children.append(node)
            nodes.append(node)
    return found


def _scores(column: pa.ListArray) -> list[dict[str, Score]]:
    ends = column.offsets.to_pylist()
    names, values, spreads, reasons = (column.values.field(field.name).to_pylist() for field in SCORE)
    every = list(map(Score, values, spreads, reasons))
    return [dict(zip(names[i:j], every[i:j], strict=True)) for i, j in pairwise(ends)]


def _streams(column: pa.ListArray) -> list[dict[str, Stream]]:
    if column.null_count == len(column):
        return [{} for _ in range(len(column))]
    ends = column.offsets.to_pylist()
    names, paths = (column.values.field(name).to_pylist() for name in ("name", "path"))
    lists = column.values.field("values")
    values, value_ends = lists.values.to_numpy(), lists.offsets.to_pylist()
    every = [Stream(values[i:j], path) for (i, j), path in zip(pairwise(value_ends), paths, strict=True)]
    return [dict(zip(names[i:j], every[i:j], strict=True)) for i, j in pairwise(ends)]


def _check_links(rows: pa.Table, file: str, first_row: int) -> None:
    """Another tool may have dropped or moved rows; a node must not end up under a stranger."""
    node = rows["node"].to_numpy()
    parent = rows["parent"].fill_null(-1).to_numpy()
    starts = np.flatnonzero(parent == -1)
    place = np.arange(len(node)) - np.repeat(starts, np.diff([*starts, len(node)]))
    wrong = np.flatnonzero((node != place) | (parent >= node) | ((parent < 0) != (node == 0)))
    if len(wrong):
        row = int(wrong[0])
        found = f"node {node[row]} with parent {parent[row]}"
        raise DataError(
            file, first_row + row + 1, "node", found, f"node {place[row]}, after its parent: whole trees, rows in order"
        )
    for name, allowed in (("author", AUTHORS), ("stop", STOPS)):
        for value in rows[name].unique().to_pylist():
            if value is not None and value not in allowed:
                raise DataError(file, None, name, repr(value), f"one of {', '.join(allowed)}")
