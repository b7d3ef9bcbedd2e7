"""Where in the input something is wrong: the one form of every data error.

`file, row group 3: column 'price': holds text, not numbers; declare kind: categorical`.
"""

from dataclasses import dataclass

from recmtl.errors import DataError

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """A part of the input: a file (or what stands in for one), and a row group of it."""

    file: str = "input"
    row_group: int | None = None

    def error(self, fault: str, remedy: str, *, column: str | None = None) -> DataError:
        """The error for `fault` at this place; `remedy` says what to do about it."""
        where = self.file if self.row_group is None else f"{self.file}, row group {self.row_group}"
        if column is not None:
            where = f"{where}: column {column!r}"
        return DataError(" ".join(f"{where}: {fault}; {remedy}".split()))
