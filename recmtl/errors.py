"""The errors that recmtl raises on purpose: one line each, naming the place and the remedy.

Every class derives from `RecmtlError`, so that a caller can catch all of them, and from
`ValueError`, so that code which knows nothing of recmtl treats them as bad input.

Where in the input something is wrong: the one form of every data error.

`file, row group 3: column 'price': holds text, not numbers; declare kind: categorical`.
"""

from dataclasses import dataclass

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "FormulaError",
    "RecmtlError",
    "SchemaError",
    "SourceLocation",
]


class RecmtlError(Exception):
    """Any error that recmtl raises on purpose."""


class SchemaError(RecmtlError, ValueError):
    """A schema file is wrong: every mistake in it, one line each."""


class ConfigError(RecmtlError, ValueError):
    """A training configuration or a command line option is wrong."""


class DataError(RecmtlError, ValueError):
    """The data does not fit the schema, or cannot be read or written."""


class BundleError(RecmtlError, ValueError):
    """A model bundle is damaged, altered, incomplete or of another version."""


class FormulaError(RecmtlError, ValueError):
    """A ranking formula is not in the grammar or names an unknown column."""


@dataclass(frozen=True)
class SourceLocation:
    """A part of the input: a file (or what stands in for one), and a row group of it."""

    file: str = "input"
    row_group: int | None = None

    def error(self, fault: str, remedy: str, *, column: str | None = None) -> DataError:
        """The error for `fault` at this place; `remedy` says what to do about it."""
        where = self.file if self.row_group is None else f"{self.file}, row group {self.row_group}"
        if column is not None:
            where = f"{where}: column {column!r}"
        return DataError(" ".join(f"{where}: {fault}; {remedy}".split()))
