"""What a sample of its values says about one column."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.logical_type import Kind, LogicalType, arrow_form
from recmtl.data.draft.column_facts import ColumnFacts, column_facts

__all__ = ["ColumnProfile", "Shape", "in_one_form", "profile"]

Shape = Literal["bool", "int", "float", "text", "time", "list", "other"]
SHAPES: dict[Kind, Shape] = {
    "boolean": "bool",
    "integer": "int",
    "float": "float",
    "text": "text",
    "timestamp": "time",
    "date": "time",
    "time of day": "time",
    "duration": "time",
    "list": "list",
}
YES = frozenset({"yes", "y", "true", "t", "positive", "pos"})
NO = frozenset({"no", "n", "false", "f", "negative", "neg"})
DAY = re.compile(r"(19|20)\d\d-?(0[1-9]|1[0-2])-?(0[1-9]|[12]\d|3[01])")
MOST_EXACT = 2**53
"""Above it float64 merges whole numbers: such numbers are ids."""
FEWEST_FRACTIONS = 10
"""Distinct numbers in lists of which vectors are made."""


@dataclass(frozen=True)
class ColumnProfile:
    """What the sample says about one column.

    Attributes:
        name: the column.
        shape: what it holds.
        rows: rows of the sample.
        missing: rows where the value is null or NaN.
        values: the distinct values of the column (of its elements, for a list), as an Arrow array.
        event: the value that means yes, in a column with exactly two values: 1 of 0 and 1, yes of
            yes and no, the rarer of two other texts; None in any other column.
        positive: numbers of the rows that hold `event`.
        facts: range, median, common values.
        words: mean number of words in each distinct text; 0 of other columns.
        vector: numbers of each list, if all lists are of fractions and equally long; 0 otherwise.
    """

    name: str
    shape: Shape
    rows: int
    missing: int
    values: Any
    event: int | str | None
    positive: frozenset[int]
    facts: ColumnFacts = field(default_factory=ColumnFacts)
    vector: int = 0
    words: float = 0.0

    @property
    def distinct(self) -> int:
        """Number of distinct values, missing ones aside."""
        return len(self.values)

    @property
    def unique(self) -> bool:
        """Whether every row has a value of its own."""
        return self.missing == 0 and self.distinct == self.rows > 1

    @property
    def is_answer(self) -> bool:
        """Whether the values are 0 and 1, or say yes and no: `Yes`, `No`, `No, borderline`."""
        if self.shape in ("bool", "int", "float"):
            return self.event is not None
        if self.shape != "text" or not 2 <= self.distinct <= 10:
            return False
        words = {re.split(r"\W+", value.lower(), maxsplit=1)[0] for value in self.texts()}
        return bool(words & YES) and bool(words & NO)

    @property
    def are_days(self) -> bool:
        """Whether the values are days: 2024-05-01, or 20240501 as text or number."""
        if self.shape not in ("int", "text") or not 1 <= self.distinct <= 50_000:
            return False
        return all(DAY.fullmatch(value) for value in self.texts())

    @property
    def are_large(self) -> bool:
        """Whether whole numbers are larger than float64 holds exactly."""
        if self.shape != "int" or not len(self.values):
            return False
        return max(abs(int(value)) for value in self.values.to_pylist()) > MOST_EXACT

    def texts(self) -> list[str]:
        """The distinct values as text."""
        return [str(value) for value in self.values.to_pylist()]


def profile(name: str, kind: LogicalType, parts: list[Any]) -> ColumnProfile:
    """The profile of a column from its canonical parts."""
    column = in_one_form(kind, parts)
    shape = SHAPES.get(kind.kind, "other")
    missing = pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0
    inner = pc.list_flatten(column) if shape == "list" else column
    values = _distinct(inner)
    if values is None:
        return ColumnProfile(name, "other", len(column), missing, pa.nulls(0), None, frozenset())
    event, positive = _event(column, shape, values) if len(values) == 2 else (None, frozenset())
    facts = column_facts(column, shape)
    vector = _vector_size(column, values) if shape == "list" else 0
    words = _mean_words(values) if shape == "text" else 0.0
    about = facts, vector, words
    return ColumnProfile(name, shape, len(column), missing, values, event, positive, *about)


def _distinct(column: Any) -> Any | None:
    """The distinct values without missing ones; None of values that cannot be compared."""
    if pa.types.is_nested(column.type):
        return None
    try:
        values = pc.unique(column).drop_null()
    except pa.ArrowNotImplementedError:
        return None
    if pa.types.is_floating(values.type):
        values = values.filter(pc.invert(pc.is_nan(values)))
    return values


def _mean_words(texts: Any) -> float:
    return float(pc.mean(pc.count_substring_regex(texts, r"[\p{L}\p{N}]+")).as_py() or 0.0)


def _vector_size(column: Any, values: Any) -> int:
    """Numbers of each list of a column, if these are vectors; 0 if they are not."""
    if not pa.types.is_floating(values.type) or len(values) < FEWEST_FRACTIONS:
        return 0
    lengths = pc.unique(pc.list_value_length(column)).drop_null().to_pylist()
    lengths = [length for length in lengths if length]
    are_whole = pc.all(pc.equal(values, pc.floor(values))).as_py()
    return lengths[0] if len(lengths) == 1 and lengths[0] > 1 and not are_whole else 0


def _event(column: Any, shape: Shape, values: Any) -> tuple[int | str | None, frozenset[int]]:
    event: int | str
    if shape == "text":
        event = _yes_or_rarer(column, values)
        hits = pc.equal(column, event)
    elif shape in ("bool", "int", "float") and set(map(float, values.to_pylist())) == {0.0, 1.0}:
        event = 1
        hits = pc.equal(column.cast(pa.float64()), 1.0)  # as true or false, NaN would be true
    else:
        return None, frozenset()
    rows = pc.indices_nonzero(hits.combine_chunks().fill_null(False))
    return event, frozenset(rows.to_pylist())


def _yes_or_rarer(column: Any, values: Any) -> str:
    texts: list[str] = values.to_pylist()
    affirmed = [text for text in texts if text.strip().lower() in YES]
    if len(affirmed) == 1:
        return affirmed[0]
    counts = [pc.sum(pc.equal(column, text)).as_py() for text in texts]
    return texts[counts.index(min(counts))]


def in_one_form(kind: LogicalType, parts: list[Any]) -> Any:
    """Canonical parts of a column as one column: they may differ in width, and hold codes."""
    plain = [
        part.dictionary_decode() if pa.types.is_dictionary(part.type) else part for part in parts
    ]
    if len({part.type for part in plain}) == 1:
        return pa.chunked_array(plain)
    try:
        return pa.chunked_array([part.cast(arrow_form(kind)) for part in plain])
    except pa.ArrowException:
        # Whole numbers of which some are beyond 64 bits: their digits tell them apart as well.
        return pa.chunked_array([part.cast(pa.string()) for part in plain])
