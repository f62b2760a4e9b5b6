"""A forest on disk: Parquet, one row a node, written in whole trees and read lazily.

A path that ends in `.parquet` is one file; any other path is a folder of shards, `part-00000.parquet` and so on. Each
file is written under another name (`.tmp`) and renamed when it is complete, so a file under its own name is whole. The
columns are described in `espalier.trees.columns`; row groups hold whole trees and are what is read at a time.
"""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from espalier.errors import DataError, EspalierError
from espalier.trees.columns import REQUIRED, SCHEMA, Columns, trees
from espalier.trees.forest import Forest
from espalier.trees.node import Tree

GROUP_NODES = 1024
"""A row group ends with the tree that reaches this many nodes: what reading one tree costs at most, roughly."""
OPEN_FILES, KEPT_GROUPS = 16, 4
MANY_NODES = 100_000
"""Reading so many takes a second, about, so that one search for garbage before it does not matter."""


def write(forest: Iterable[Tree], path: str | os.PathLike[str]) -> None:
    """Write a forest: to one file, replacing it, where `path` ends in `.parquet`, else to a new folder of shards.

    Raises:
        EspalierError: the disk is full, the path cannot be written, the folder already holds shards, or a tree holds
            what cannot be stored. No partial file stays behind.
    """
    with ForestWriter(path) as writer:
        for tree in forest:
            writer.write(tree)


class ForestWriter:
    """Writes trees as they come.

    In a folder, a shard is finished (and safe from then on, whatever happens to the process) when it holds
    `shard_nodes` nodes or has been open for `shard_seconds`. Leaving the `with` block through an exception finishes
    the trees added so far; a single file, which would look complete, is dropped instead. One writer at a time.

    >>> import tempfile
    >>> from espalier.trees import Node, Tree
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ForestWriter(f"{folder}/trees") as writer:
    ...         writer.write(Tree(Node("1+1=", "prompt")))
    ...     with ForestWriter(f"{folder}/trees", append=True) as writer:
    ...         len(writer)  # a job that was stopped goes on from here
    1

    Args:
        path: a file (`.parquet`) or a folder, made where absent.
        append: go on after the shards that a folder already holds. Without it a folder with shards is refused.
        shard_nodes: nodes a shard holds, roughly.
        shard_seconds: the most work, in seconds, that a crash may cost.

    Raises:
        EspalierError: the path cannot be written, or holds a forest and `append` is False.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        append: bool = False,
        *,
        shard_nodes: int = 100_000,
        shard_seconds: float = 60.0,
    ) -> None:
        self.path = Path(path)
        self.is_file = self.path.suffix == ".parquet"
        self.shard_nodes, self.shard_seconds = shard_nodes, shard_seconds
        self._columns = Columns()
        self._shard: _Shard | None = None
        self._trees = self._safe = self._shards = 0
        if self.is_file:
            if append:
                raise EspalierError(f"{self.path}: a single file cannot be appended to; write to a folder instead")
            return
        with _explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for left in self.path.glob("part-*.parquet.tmp"):
                left.unlink()
        done = _shards(self.path)
        if done and not append:
            raise EspalierError(
                f"{self.path} already holds {len(done)} shards of a forest; pass append=True to go on after them, "
                "or choose another path"
            )
        if done:
            self._trees = self._safe = len(StoredTrees(done))
            self._shards = 1 + max(
                (int(n[1]) for file in done if (n := re.fullmatch(r"part-(\d+)", file.stem))), default=-1
            )

    def __len__(self) -> int:
        """Trees written, those that were there before included."""
        return self._trees

    def write(self, tree: Tree) -> None:
        """Write one more tree. It is stored as it is now; later changes to it are not.

        Raises:
            EspalierError: the tree holds what cannot be stored (the writer stays usable), or the disk refuses.
        """
        self._columns.add(tree, self._trees)
        self._trees += 1
        shard = self._shard or self._open()
        if len(self._columns) >= GROUP_NODES:
            self._write_group(shard)
        age, nodes = time.monotonic() - shard.opened, shard.nodes + len(self._columns)
        if not self.is_file and (nodes >= self.shard_nodes or age >= self.shard_seconds):
            self.flush()

    def flush(self) -> None:
        """Finish the shard that is open: what was added so far survives anything from here on."""
        if self._shard is None:
            return
        self._write_group(self._shard)
        with self._kept_or_dropped():
            self._shard.finish()
        self._shard, self._safe = None, self._trees

    def close(self) -> None:
        """Finish what is open. A forest without trees is stored too."""
        if self._shard is None and self._shards == 0:
            self._open()
        self.flush()

    def __enter__(self) -> ForestWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self.is_file and self._shard is not None:
            self._shard.drop()
        else:
            self.flush()

    def _open(self) -> _Shard:
        name = self.path if self.is_file else self.path / f"part-{self._shards:05d}.parquet"
        with self._kept_or_dropped():
            self._shard = shard = _Shard(name)
        self._shards += 1
        return shard

    def _write_group(self, shard: _Shard) -> None:
        if len(self._columns):
            with self._kept_or_dropped():
                shard.write(self._columns.table())
            self._columns = Columns()

    @contextmanager
    def _kept_or_dropped(self) -> Iterator[None]:
        """A shard that failed, or was interrupted while it was written, is given up whole: none holds a tree twice."""
        try:
            with _explained(self.path):
                yield
        except BaseException:
            if self._shard is not None:
                self._shard.drop()
            self._shard, self._columns, self._trees = None, Columns(), self._safe
            raise


class _Shard:
    """One file, under its temporary name until it is finished."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.temporary = path, path.with_name(path.name + ".tmp")
        self.nodes, self.opened = 0, time.monotonic()
        self.sink = pa.OSFile(str(self.temporary), "wb")
        self.writer = pq.ParquetWriter(self.sink, SCHEMA, compression="zstd", write_statistics=False)

    def write(self, table: pa.Table) -> None:
        self.writer.write_table(table, row_group_size=table.num_rows)
        self.nodes += table.num_rows

    def finish(self) -> None:
        self.writer.close()
        self.sink.close()
        with self.temporary.open("rb") as file:
            os.fsync(file.fileno())  # some disks say only now that they are full
        self.temporary.replace(self.path)

    def drop(self) -> None:
        with suppress(OSError):
            self.writer.close()
        self.writer.is_open = False  # else its destructor tries once more
        with suppress(OSError):
            self.sink.close()
        self.temporary.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """The operating system's refusal as an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise EspalierError(
            f"cannot write {path}: {error}. Make room or choose another path; shards finished before are whole"
        ) from error


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
    files = _shards(path) if path.is_dir() else [path]
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


def _shards(folder: Path) -> list[Path]:
    """By name, part-100000 after part-99999."""
    return sorted(folder.glob("*.parquet"), key=lambda file: (len(file.name), file.name))
