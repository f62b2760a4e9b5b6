"""The rows of a file, one after another, with the line each begins on: JSON lines, CSV and Parquet tables.

A row that cannot be parsed comes out as the `DataError` that says why, in its place, so that a reader may go on behind
it. Nothing is held but the row at hand.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from espalier.errors import DataError

Row = dict[str, Any]


def jsonl(path: Path) -> Iterator[tuple[int, Row | DataError]]:
    """JSON objects, one a line; blank lines are passed over."""
    with path.open("rb") as file:
        for line, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode("utf-8-sig" if line == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                yield line, _not_utf8(path, line, raw[error.start], error.start)
            except (json.JSONDecodeError, RecursionError) as error:
                yield line, DataError(str(path), line, None, f"malformed JSON ({error})", "one JSON object a line")
            else:
                if isinstance(row, dict):
                    yield line, row
                else:
                    yield line, DataError(str(path), line, None, describe(row), "one JSON object a line")


def table_csv(path: Path) -> Iterator[tuple[int, Row | DataError]]:
    """Comma-separated values under a header line. Every cell is a string; an empty one is None."""
    csv.field_size_limit(sys.maxsize)  # the module's own limit of 128 KiB a cell is less than a long response
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        header: list[str] | None = None
        last = 0
        while True:
            line = last + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield line, DataError(str(path), line, None, f"malformed CSV ({error})", "comma-separated values")
                continue
            finally:
                last = reader.line_num
            if not cells:
                continue
            # One undecodable byte must cost one row, not the file: it came through as a lone surrogate.
            if (bad := _escaped(cells)) is not None:
                yield line, _not_utf8(path, line, bad, None)
            elif header is None:
                header = cells
                if len(set(header)) < len(header):
                    raise DataError(str(path), line, None, f"the header {', '.join(header)}", "distinct column names")
            elif len(cells) != len(header):
                expected = f"{len(header)} cells, as in the header"
                yield line, DataError(str(path), line, None, f"{len(cells)} cells", expected)
            else:
                yield line, dict(zip(header, (cell or None for cell in cells), strict=True))


def table_parquet(path: Path) -> Iterator[tuple[int, Row | DataError]]:
    """The rows of a Parquet table, numbered from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        row = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                row += 1
                yield row, values
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(str(path), None, None, f"an unreadable file ({error})", "a Parquet file") from error


def describe(value: object) -> str:
    """A value in the words of an error message, cut to fit a line."""
    if value is None:
        return "null"
    text = json.dumps(value, default=str)
    kind = {bool: "", int: "the number ", float: "the number ", list: "a list, ", dict: "an object, "}
    return kind.get(type(value), "") + (text if len(text) <= 60 else text[:57] + "...")


def _escaped(cells: list[str]) -> int | None:
    for cell in cells:
        if not cell.isascii():
            for character in cell:
                if "\udc80" <= character <= "\udcff":
                    return ord(character) - 0xDC00
    return None


def _not_utf8(path: Path, line: int, byte: int, column: int | None) -> DataError:
    where = "" if column is None else f" at byte {column + 1} of the line"
    return DataError(str(path), line, None, f"the byte 0x{byte:02x}{where}", "text in UTF-8")
