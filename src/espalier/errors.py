"""Errors that say where, what was found, what was expected, and what to do."""

from __future__ import annotations


class EspalierError(Exception):
    """The base of every error that Espalier raises on purpose."""


class DataError(EspalierError):
    """A row that cannot be read.

    >>> raise DataError("pairs.jsonl", 3, "chosen", "null", "a string")
    Traceback (most recent call last):
    ...
    espalier.errors.DataError: pairs.jsonl, line 3, field 'chosen': found null, expected a string
    """

    def __init__(self, file: str, line: int | None, field: str | None, found: str, expected: str) -> None:
        self.file, self.line, self.field, self.found, self.expected = file, line, field, found, expected
        where = file + (f", line {line}" if line is not None else "") + (f", field {field!r}" if field else "")
        super().__init__(f"{where}: found {found}, expected {expected}")


class ConfigError(EspalierError):
    """A setting that is unknown, of the wrong type, or out of range."""


class ModelError(EspalierError):
    """A model folder or tokenizer that cannot be used as asked."""


class ContextLengthError(EspalierError):
    """A text longer than the model's context."""


class EngineError(EspalierError):
    """An engine that cannot go on: it died, refused, or answered nonsense."""


class AuditError(EspalierError, ValueError):
    """A comparison that cannot be made: a score that no answer has, other problems, too few of them."""


class TrainingError(EspalierError):
    """A run that must not go on: a NaN loss, an empty batch, sampler and trainer that disagree."""
