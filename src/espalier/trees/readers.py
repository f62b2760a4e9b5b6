"""`read`: any file that holds prompts and what followed them, as a forest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from espalier.errors import ConfigError, DataError
from espalier.trees.forest import Forest
from espalier.trees.formats import FIELDS, FORMATS, OPTIONAL, Format, Record, detect, tree
from espalier.trees.node import Tree
from espalier.trees.rows import Row, jsonl, table_csv, table_parquet

PEEK = 100
"""The format is found from the columns of this many rows together, so that one row without a field is an error."""


def read(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    columns: Mapping[str, str] | None = None,
    tokenizer: Any = None,
    on_error: Literal["raise", "skip"] = "raise",
    separator: str = "\n",
) -> Forest:
    """Read a file of prompts and responses: JSON lines (`.jsonl`, `.json`), CSV or Parquet; or open a stored forest.

    The formats are described in `espalier.trees.formats`. Each row becomes one tree with the id `<file stem>:<line>`
    unless the row has an `id`; rows that share a prompt are brought together by `Forest.merge`. A Parquet file or a
    folder that Espalier wrote is opened lazily, see `espalier.trees.open_forest`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "sums.jsonl")
    ...     _ = path.write_text('{"problem": "1+1=", "output": "2", "right": true}')
    ...     forest = read(path, columns={"prompt": "problem", "completion": "output", "label": "right"})
    >>> forest[0].id, forest[0].leaves()[0].text, forest[0].leaves()[0].value("label")
    ('sums:1', '2', 1.0)

    Args:
        path: the file, or the folder of a stored forest.
        format: which format the rows have; found from the columns where None.
        columns: from our names to the file's, for those that differ.
        tokenizer: whose chat template renders chat messages.
        on_error: "raise" at the first bad row, or "skip" bad rows and list them in `forest.skipped`.
        separator: ends each step of a list of steps that does not end with it already (nor does the next begin with
            it); the last step stays as it is.

    Raises:
        DataError: a bad row (file, line, field, found, expected), no rows at all, none that is good, or columns that
            fit no format or several.
        ConfigError: an unknown format or column name, or chat messages and no tokenizer.
        ModelError: a tokenizer without a chat template.
    """
    path, names = Path(path), dict(columns or {})
    if format is not None and format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}; the formats are {', '.join(FORMATS)}")
    if unknown := names.keys() - FIELDS - OPTIONAL:
        known = ", ".join(sorted(FIELDS | OPTIONAL))
        raise ConfigError(f"unknown column names {', '.join(sorted(unknown))}; columns= maps any of {known}")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f'on_error is {on_error!r}; it can be "raise" or "skip"')
    if _is_forest(path):
        if format or columns:
            raise ConfigError(f"{path} is a stored forest; format= and columns= are for tables")
        from espalier.trees.stored import open_forest

        return open_forest(path)

    rows = _rows(path)
    first = _peek(rows, on_error == "skip")
    seen = {key for _, row in first if not isinstance(row, DataError) for key in row}
    chosen = format or (_detect(path, seen, names) if seen else None)
    late = FIELDS - seen if format is None else frozenset()
    trees: list[Tree] = []
    skipped: list[DataError] = []
    for line, row in chain(first, rows):
        try:
            if isinstance(row, DataError):
                raise row
            for name in late & row.keys():
                raise DataError(str(path), line, name, "a field that the first rows lack", "one format, or format=")
            record = Record(str(path), line, row, names, path.suffix == ".csv", tokenizer)
            trees.append(tree(record, chosen or "prompt", separator))
        except DataError as error:
            if on_error == "raise":
                raise
            skipped.append(error)
    if not trees:
        why = f"none of {len(skipped)} rows can be read; the first: {skipped[0]}" if skipped else "no rows"
        raise DataError(str(path), None, None, why, "at least one good row")
    return Forest(trees, skipped)


def _is_forest(path: Path) -> bool:
    if path.is_dir():
        return True
    if not path.exists():
        raise DataError(str(path), None, None, "no such file", "a file to read")
    if path.suffix != ".parquet":
        return False
    from espalier.trees.stored import is_forest

    return is_forest(path)


def _rows(path: Path) -> Iterator[tuple[int, Row | DataError]]:
    readers = {".jsonl": jsonl, ".json": jsonl, ".csv": table_csv, ".parquet": table_parquet}
    if path.suffix not in readers:
        raise DataError(str(path), None, None, f"the ending {path.suffix!r}", f"one of {', '.join(readers)}")
    return readers[path.suffix](path)


def _peek(rows: Iterator[tuple[int, Row | DataError]], skipping: bool) -> list[tuple[int, Row | DataError]]:
    """The first rows; where bad ones are skipped, as far as the first good one."""
    first = list(islice(rows, PEEK))
    while skipping and first and all(isinstance(row, DataError) for _, row in first):
        more = list(islice(rows, PEEK))
        first += more
        if not more:
            break
    return first


def _detect(path: Path, seen: set[str], names: Mapping[str, str]) -> Format:
    for name, column in names.items():
        if column not in seen:
            found = f"columns {', '.join(sorted(seen))}"
            raise DataError(str(path), None, column, found, f"this one, which columns= gives for {name!r}")
    visible = {column for column in seen - set(names.values()) if column not in names}
    return detect(str(path), visible | names.keys())
