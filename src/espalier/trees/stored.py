"""Read a forest from disk, lazily: `espalier.trees.parquet` wrote it, one row a node, in row groups of whole trees."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from espalier.errors import DataError
from espalier.trees.columns import REQUIRED, trees
from espalier.trees.forest import Forest
from espalier.trees.node import Tree

OPEN_FILES, KEPT_GROUPS = 16, 4
MANY_NODES = 100_000
"""Reading so many takes a second, about, so that one search for garbage before it does not matter."""


def open_forest(path: str | os.PathLike[str]) -> Forest:
    """A stored forest, read a row group at a time when its trees are asked for.

    Iterating streams through the files; indexing keeps the last few row groups. A tree may be read again later, so
    what is changed on it is lost: call `load()` first where trees are to be annotated or grown.

    Args:
        path: a file, or a folder whose `.parquet` files are the shards in the order of their names.

    Raises:
        DataError: there is no such file, or it was not written by Espalier (the missing columns are named).
    """
    path = Path(path)
    files = shards(path) if path.is_dir() else [path]
    if not files:
        raise DataError(str(path), None, None, "a folder without .parquet files", "the shards of a forest")
    return Forest(StoredTrees(files))


def is_forest(path: Path) -> bool:
    """Whether a Parquet file has the columns of a forest.

    Raises:
        DataError: it is not a Parquet file at all.
    """
    return not _missing(_open(path))


class StoredTrees(Sequence[Tree]):
    """The trees of some files in order. Opening reads one narrow column of each; no text, no tokens."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.groups: list[tuple[Path, list[int], int]] = []
        """For each stretch of row groups that begins with a root: its file, the row groups, its first row."""
        self.nodes = 0
        """The rows of all files."""
        self._file = lru_cache(OPEN_FILES)(_open)
        self._kept = lru_cache(KEPT_GROUPS)(self._read)
        counts: list[int] = []
        for path in self.files:
            counts += self._index(path)
        self.ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __iter__(self) -> Iterator[Tree]:
        for group in range(len(self.groups)):
            yield from self._read(group)

    def load(self) -> list[Tree]:
        """All trees. A node takes no longer in a forest of millions than in a small one.

        Each time that what lives has grown by a quarter, Python's garbage collector walks all of it again. What is
        read here stays, so the collector rests. What died before is freed first: a forest that was dropped, for
        instance, whose parents and children hold each other.
        """
        if self.nodes < MANY_NODES or not gc.isenabled():
            return list(self)
        gc.collect()
        with _uncollected():
            return list(self)

    @overload
    def __getitem__(self, index: int) -> Tree: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Tree]: ...
    def __getitem__(self, index: int | slice) -> Tree | Sequence[Tree]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"tree {index} of a forest of {len(self)}")
        group = int(np.searchsorted(self.ends, place, side="right"))
        return self._kept(group)[place - int(self.ends[group])]

    def _index(self, path: Path) -> list[int]:
        """Add a file's groups and return how many trees each holds."""
        file = self._file(path)
        if missing := _missing(file):
            raise DataError(str(path), None, None, f"no columns {', '.join(missing)}", "a forest written by Espalier")
        roots = np.flatnonzero(file.read(columns=["node"])["node"].to_numpy() == 0)
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        rows = sum(sizes)
        self.nodes += rows
        if rows and (not len(roots) or roots[0] != 0):
            raise DataError(str(path), 1, "node", "a row that is not a root", "a forest, which begins with a root")
        first = 0
        starts: list[int] = []
        for group, size in enumerate(sizes):
            # Other tools cut row groups where they like: those that begin inside a tree join the one before.
            if size and first in roots[np.searchsorted(roots, first) :][:1]:
                starts.append(first)
                self.groups.append((path, [group], first))
            elif size:
                self.groups[-1][1].append(group)
            first += size
        return np.diff(np.searchsorted(roots, [*starts, rows])).tolist()

    def _read(self, group: int) -> list[Tree]:
        path, row_groups, first = self.groups[group]
        table = self._file(path).read_row_groups(row_groups, use_threads=False)
        with _uncollected():
            return trees(table, str(path), first)


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is made in here lives on; the garbage collector would search it in vain, for half of the time (measured)."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise DataError(str(path), None, None, "no such file", "a Parquet file or a folder of them") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(str(path), None, None, f"an unreadable file ({error})", "a Parquet file") from error


def _missing(file: pq.ParquetFile) -> list[str]:
    return [name for name in REQUIRED if name not in file.schema_arrow.names]


def shards(folder: Path) -> list[Path]:
    """The files of a forest in a folder, by name, part-100000 after part-99999."""
    return sorted(folder.glob("*.parquet"), key=lambda file: (len(file.name), file.name))
