"""How text files of a log are laid out, as far as the files cannot say it themselves."""

import codecs
from typing import Literal

from recmtl.errors import SchemaError
from recmtl.schema.settings import settings

__all__ = ["ListCells", "Pairs", "TextFiles"]


@settings(SchemaError)
class ListCells:
    """A column whose cells hold lists: `Action|Comedy`.

    Attributes:
        column: the column.
        separator: stands between two values of a list.
    """

    column: str
    separator: str

    def __post_init__(self) -> None:
        """Refuse an empty separator."""
        if not self.separator:
            raise ValueError("separator must not be empty; say what stands between two values")


@settings(SchemaError)
class Pairs:
    """The end of a row as `name:value` pairs, of which every name becomes a column.

    A name that stands more than once in any row becomes a column of lists.

    Attributes:
        between: stands between two pairs.
        after_name: stands between a name and its value.
        after_value: ends the value, where more follows that is left out (a weight).
    """

    between: str = ","
    after_name: str = ":"
    after_value: str | None = None

    def __post_init__(self) -> None:
        """Refuse separators that cannot be told apart."""
        marks = [self.between, self.after_name, self.after_value or "none"]
        if not all(marks) or len(set(marks)) < len(marks):
            raise ValueError("between, after_name and after_value must differ and not be empty")


@settings(SchemaError)
class TextFiles:
    """How CSV and other text files of a log are laid out; nothing of this concerns other files.

    Attributes:
        separator: one character between two columns; seen in the first file if None.
        header: whether the first line names the columns; seen in the first file if None.
        columns: their names, for files without such a line.
        quote: encloses values that hold separators or line breaks; empty for none.
        encoding: of the characters.
        decimal: the decimal point.
        missing: what else than nothing is a missing value.
        lists: columns whose cells hold lists.
        pairs: how the rest of a row, after `columns`, holds `name:value` pairs.
    """

    separator: str | None = None
    header: bool | None = None
    columns: tuple[str, ...] = ()
    quote: str = '"'
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    missing: tuple[str | int | float, ...] = ()
    lists: tuple[ListCells, ...] = ()
    pairs: Pairs | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.separator is not None and (len(self.separator) != 1 or self.separator in "\r\n"):
            raise ValueError("separator must be one character")
        if len(self.quote) > 1 or (self.quote and self.quote == self.separator):
            raise ValueError("quote must be one character, not the separator, or empty")
        repeated = {name for name in self.columns if self.columns.count(name) > 1}
        if repeated:
            raise ValueError(f"columns names {sorted(repeated)[0]!r} twice; rename one of the two")
        if self.pairs is not None and not self.columns:
            raise ValueError("pairs needs columns: the names of what stands before the pairs")
        if self.pairs is not None and self.header:
            raise ValueError("pairs are for files without a header; drop header")
        try:
            codecs.lookup(self.encoding)
        except LookupError:
            raise ValueError(f"encoding {self.encoding!r} is unknown; utf-8, latin-1?") from None
