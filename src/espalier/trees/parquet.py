"""Write a forest to disk: Parquet, one row a node, in whole trees. `espalier.trees.stored` reads it.

A path that ends in `.parquet` is one file; any other path is a folder of shards, `part-00000.parquet` and so on. Each
file is written under another name (`.tmp`) and renamed when it is complete, so a file under its own name is whole. The
columns are described in `espalier.trees.columns`; row groups hold whole trees and are what is read at a time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from espalier.errors import EspalierError
from espalier.trees.columns import SCHEMA, Columns
from espalier.trees.node import Tree
from espalier.trees.stored import StoredTrees, shards

GROUP_NODES = 1024
"""A row group ends with the tree that reaches this many nodes: what reading one tree costs at most, roughly."""


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
        done = shards(self.path)
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
