"""The errors that recmtl raises on purpose, and what their messages are made of.

Every class derives from `RecmtlError`, so that a caller can catch all of them, and from
`ValueError`, so that code which knows nothing of recmtl treats them as bad input. A message is one
line that names the place, says what is wrong, and ends with a remedy:
`file, row group 3: column 'price': holds text, not numbers; declare kind: categorical`.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from unicodedata import normalize

__all__ = [
    "BundleError",
    "ConfigError",
    "DataError",
    "FormulaError",
    "RecmtlError",
    "SchemaError",
    "SourceLocation",
    "did_you_mean",
]


class RecmtlError(Exception):
    """Any error that recmtl raises on purpose."""


class SchemaError(RecmtlError, ValueError):
    """A schema file is wrong: the message lists every mistake, one line each."""


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
        """The error for `fault` at this place; `remedy` says what to do about it.

        >>> place = SourceLocation("log.parquet", 3)
        >>> print(place.error("holds text", "declare kind: categorical", column="price"))
        log.parquet, row group 3: column 'price': holds text; declare kind: categorical
        """
        where = self.file if self.row_group is None else f"{self.file}, row group {self.row_group}"
        if column is not None:
            where = f"{where}: column {column!r}"
        return DataError(" ".join(f"{where}: {fault}; {remedy}".split()))


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`"; did you mean 'x'?"` for the option nearest to `word`, or an empty string.

    A word that is itself an option is no slip of the pen. An option that only looks like the word,
    in another Unicode form, is shown by its code points.

    >>> did_you_mean("clik", ["click", "like"])
    "; did you mean 'click'?"
    >>> did_you_mean("watch", ["click", "like"])
    ''
    """
    names = list(options)
    near = [] if word in names else difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not near:
        return ""
    looks_alike = normalize("NFKC", near[0]) == normalize("NFKC", word)
    return f"; did you mean {ascii(near[0]) if looks_alike else repr(near[0])}?"
