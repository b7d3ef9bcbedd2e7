"""The errors that recmtl raises on purpose, and what their messages are made of.

Every class derives from `RecmtlError`, so that a caller can catch all of them, and from
`ValueError`, so that code which knows nothing of recmtl treats them as bad input. A message is one
line that names the place, says what is wrong, and ends with a remedy:
`file, row group 3: column 'price': holds text, not numbers; declare kind: categorical`.
"""

import difflib
import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from recmtl.masking import mask

__all__ = [
    "FULL",
    "REMEDIES_OF_WRITING",
    "BundleError",
    "ConfigError",
    "DataError",
    "FormulaError",
    "RecmtlError",
    "SchemaError",
    "SourceLocation",
    "did_you_mean",
    "differences",
    "first_line",
    "outside_error",
    "refuse_unknown_tasks",
]

MOST_SHOWN, LONGEST_VALUE = 5, 80
"""Differences that a message lists, and characters of a value."""
OUTSIDE = {
    *("adlfs", "aiobotocore", "aiohttp", "alembic", "azure", "botocore", "fsspec", "gcsfs"),
    *("google", "json", "mlflow", "pyarrow", "py4j", "pyspark", "requests", "s3fs"),
    *("safetensors", "safetensors_rust", "sqlalchemy", "sqlite3", "urllib3", "yaml"),
}
"""Packages whose errors tell of the world outside: files, networks, stores."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a disk, or a quota, without room."""
REMEDIES_OF_WRITING = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions, or choose another place"),
    errno.EROFS: "the disk is read-only: choose another place",
    errno.ENOTDIR: "a file is in the way: choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}
REMEDIES = {
    **REMEDIES_OF_WRITING,
    **dict.fromkeys(FULL, "free some space there, then run again to go on"),
    errno.ENOENT: "check the path",
    errno.EEXIST: "it is in the way: choose another place",
    errno.EISDIR: "a folder is in the way: choose another name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class RecmtlError(Exception):
    """Any error that recmtl raises on purpose; what is secret in its message is masked.

    >>> print(DataError("s3://key:secret@bucket/log: cannot be read"))
    s3://***@bucket/log: cannot be read
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask(a) if isinstance(a, str) else a for a in arguments))


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


def refuse_unknown_tasks(setting: str, named: Iterable[str], tasks: Iterable[str]) -> None:
    """Raise a `ConfigError` if a setting names a task that does not exist."""
    task_names = list(tasks)
    for name in named:
        if name not in task_names:
            hint = did_you_mean(name, task_names)
            raise ConfigError(
                f"{setting}: there is no task {name!r}{hint}; there are {', '.join(task_names)}"
            )


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Where two JSON objects differ, from what to what: at most five places, and how many more.

    Returns:
        An empty string if they are equal.

    >>> differences({"grid": {"widths": [8]}, "seed": 0}, {"grid": {"widths": [9]}, "seed": 0})
    'grid.widths was [8] and is [9]'
    """
    lines = list(_differences(before, now, ""))
    more = f", and {len(lines) - MOST_SHOWN} more" if len(lines) > MOST_SHOWN else ""
    return ", ".join(lines[:MOST_SHOWN]) + more


def _differences(before: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            path = f"{name}.{key}" if name else key
            yield from _differences(before.get(key), now.get(key), path)
    elif before != now:
        yield f"{name} was {_shown(before)} and is {_shown(now)}"


def _shown(value: Any) -> str:
    if value is None:
        return "absent"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def first_line(fault: BaseException) -> str:
    r"""The first line of what an error says, or the name of its class if it says nothing.

    >>> first_line(KeyError()), first_line(ValueError("no\nsuch"))
    ('KeyError', 'no')
    """
    return (str(fault).splitlines() or [type(fault).__name__])[0]


def outside_error(error: BaseException) -> RecmtlError | None:
    """What the system or a library reports of the world outside, in one line with a remedy.

    Returns:
        The error to show in place of `error`: itself if recmtl raised it on purpose, and None if it
        is neither of these, but a mistake in recmtl.

    >>> print(outside_error(FileNotFoundError(errno.ENOENT, "No such file", "log.parquet")))
    log.parquet: No such file; check the path
    >>> outside_error(KeyError("x")) is None
    True
    """
    if isinstance(error, RecmtlError):
        return error
    text = " ".join((str(error).strip().splitlines() or [""])[0].split())
    if isinstance(error, MemoryError):
        return RecmtlError(
            f"not enough memory ({text or 'none is left'}); free some, or ask for less"
        )
    if isinstance(error, ImportError):
        return RecmtlError(f"cannot be imported: {text}; install what is missing with pip")
    if isinstance(error, UnicodeError):
        return DataError(f"a file or a name is no UTF-8 ({text}); write it again as UTF-8")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        remedy = REMEDIES.get(error.errno or 0, "check that place and the access to it")
        return DataError(f"{place}{error.strerror or text or type(error).__name__}; {remedy}")
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    if packages & OUTSIDE:
        name = type(error).__module__.partition(".")[0]
        is_full = os.strerror(errno.ENOSPC) in text
        remedy = REMEDIES[errno.ENOSPC] if is_full else "--debug shows where"
        return RecmtlError(f"{name}: {text or type(error).__name__}; {remedy}")
    return None
