"""The logical type of a column, decided once for a whole data set.

Parquet files and callers' frames hold the same values in many Arrow forms. `logical_type` says what
a form means, and `unify` decides one type for a column of many files. Where two types meet, every
value keeps its meaning, or the files are refused:

- null becomes any type, boolean becomes integer (0 and 1), binary becomes text (UTF-8);
- integer becomes float, as far as float64 holds it: up to 2^53;
- times take the finest unit, and instants of different zones UTC. Timestamps with a zone and
  without one, dates, times of day and durations do not mix.

`recmtl.data.columns.canonical` turns columns into the one Arrow form of their type. The types of a
log are fitted with its encoder: what is scored, ranked or added later is turned into them, where it
`can_mean` the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import pyarrow as pa

from recmtl.errors import DataError, SourceLocation

__all__ = [
    "Kind",
    "LogicalType",
    "arrow_form",
    "can_mean",
    "common_type",
    "logical_type",
    "unify",
    "value_type_name",
]

Kind = Literal[
    "null", "boolean", "integer", "float", "text", "binary",
    "timestamp", "date", "time of day", "duration", "list", "other",
]  # fmt: skip
UNITS = ("s", "ms", "us", "ns")
"""Of times, from coarse to fine."""
NAMED_FILES = 3


@dataclass(frozen=True)
class LogicalType:
    """What the values of a column are, whatever Arrow form holds them.

    Attributes:
        kind: `integer`, `text`, `list`, ...; `other` is a struct, a map or another form that no
            feature or role can have.
        detail: the unit of a time (`s`, `ms`, `us`, `ns`; of a date `day` or `ms`), the precision
            of a float (`single`, `double`), Arrow's name of an `other`.
        zone: the time zone of a timestamp that has one.
        item: the type of a list's values.
    """

    kind: Kind
    detail: str = ""
    zone: str | None = None
    item: "LogicalType | None" = None

    def __str__(self) -> str:
        """As messages name it: `list of text`, `timestamp (ms, UTC)`."""
        if self.kind == "list":
            return f"list of {self.item}"
        if self.kind == "other":
            return self.detail
        details = [text for text in (self.detail, self.zone) if text and self.kind != "float"]
        return f"{self.kind} ({', '.join(details)})" if details else self.kind

    @property
    def is_time(self) -> bool:
        """Whether the values are counted in a unit of time."""
        return self.kind in ("timestamp", "date", "time of day", "duration")

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; attributes without a value are left out."""
        document: dict[str, Any] = {"kind": self.kind, "detail": self.detail, "zone": self.zone}
        if self.item is not None:
            document["item"] = self.item.to_json()
        return {name: value for name, value in document.items() if value}

    @staticmethod
    def from_json(document: dict[str, Any]) -> "LogicalType":
        """Read what `to_json` gave.

        >>> days = LogicalType("list", item=LogicalType("timestamp", "ms", "UTC"))
        >>> LogicalType.from_json(days.to_json()) == days
        True
        """
        item = document.get("item")
        return LogicalType(**{**document, "item": item and LogicalType.from_json(item)})


NULL, BOOLEAN, INTEGER = LogicalType("null"), LogicalType("boolean"), LogicalType("integer")
SINGLE, DOUBLE = LogicalType("float", "single"), LogicalType("float", "double")
TEXT, BINARY = LogicalType("text"), LogicalType("binary")
_INTEGERS = (
    pa.int8(), pa.int16(), pa.int32(), pa.int64(),
    pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
)  # fmt: skip
_SIMPLE = {
    pa.null().id: NULL,
    pa.bool_().id: BOOLEAN,
    **{arrow.id: INTEGER for arrow in _INTEGERS},
    **{arrow.id: SINGLE for arrow in (pa.float16(), pa.float32())},
    pa.float64().id: DOUBLE,
    **{arrow.id: TEXT for arrow in (pa.string(), pa.large_string(), pa.string_view())},
    **{arrow.id: BINARY for arrow in (pa.binary(), pa.large_binary(), pa.binary_view())},
    pa.binary(1).id: BINARY,
    pa.date32().id: LogicalType("date", "day"),
    pa.date64().id: LogicalType("date", "ms"),
}
"""Types of the Arrow forms that one number of Arrow's tells, for speed."""


def logical_type(arrow: Any) -> LogicalType:
    """The logical type of an Arrow type.

    >>> str(logical_type(pa.list_(pa.decimal128(20, 0))))
    'list of integer'
    >>> logical_type(pa.dictionary(pa.int8(), pa.string_view())) == logical_type(pa.string())
    True
    """
    simple = _SIMPLE.get(arrow.id)
    return _type_with_parameters(arrow) if simple is None else simple


@lru_cache(maxsize=4096)
def _type_with_parameters(arrow: Any) -> LogicalType:
    types = pa.types
    if isinstance(arrow, pa.BaseExtensionType):
        return logical_type(arrow.storage_type)
    if types.is_dictionary(arrow) or types.is_run_end_encoded(arrow):
        return logical_type(arrow.value_type)
    if types.is_decimal(arrow):
        return INTEGER if arrow.scale <= 0 else DOUBLE
    if types.is_timestamp(arrow):
        return LogicalType("timestamp", arrow.unit, arrow.tz)
    if types.is_time(arrow):
        return LogicalType("time of day", arrow.unit)
    if types.is_duration(arrow):
        return LogicalType("duration", arrow.unit)
    if _is_list(arrow):
        return LogicalType("list", item=logical_type(arrow.value_type))
    return LogicalType("other", str(arrow))


def _is_list(arrow: Any) -> bool:
    views = pa.types.is_list_view(arrow) or pa.types.is_large_list_view(arrow)
    lists = pa.types.is_list(arrow) or pa.types.is_large_list(arrow)
    return bool(lists or views or pa.types.is_fixed_size_list(arrow))


def arrow_form(wanted: LogicalType) -> Any:
    """The Arrow type that holds every value of a logical type, of a list's values too."""
    if wanted.kind == "timestamp":
        return pa.timestamp(wanted.detail, wanted.zone)
    if wanted.kind == "date":
        return pa.date32() if wanted.detail == "day" else pa.date64()
    if wanted.kind == "time of day":
        return (pa.time32 if wanted.detail in ("s", "ms") else pa.time64)(wanted.detail)
    if wanted.kind == "duration":
        return pa.duration(wanted.detail)
    if wanted.kind == "list" and wanted.item is not None:
        return pa.list_(arrow_form(wanted.item))
    plain = {
        "boolean": pa.bool_(),
        "integer": pa.int64(),
        "float": pa.float32() if wanted == SINGLE else pa.float64(),
        "text": pa.large_string(),
        "binary": pa.large_binary(),
    }
    return plain.get(wanted.kind, pa.null())


def value_type_name(arrow: Any) -> str:
    """Arrow's name of the type of the values, without that of a dictionary around them."""
    return str(arrow.value_type if pa.types.is_dictionary(arrow) else arrow)


def common_type(one: LogicalType, other: LogicalType) -> LogicalType | None:
    """The type to which values of both can be turned without another meaning; None if none is.

    >>> str(common_type(logical_type(pa.int32()), logical_type(pa.float64())))
    'float'
    >>> common_type(logical_type(pa.int32()), logical_type(pa.string())) is None
    True
    """
    if one == other or other == NULL:
        return one
    if one == NULL:
        return other
    kinds = {one.kind, other.kind}
    if kinds <= {"boolean", "integer"}:
        return INTEGER
    if kinds <= {"boolean", "integer", "float"}:
        return DOUBLE
    if kinds == {"text", "binary"}:
        return TEXT
    if len(kinds) > 1:
        return None
    if one.kind == "list" and one.item is not None and other.item is not None:
        item = common_type(one.item, other.item)
        return None if item is None else replace(one, item=item)
    return _common_time(one, other) if one.is_time else None


@lru_cache(maxsize=4096)
def can_mean(incoming: LogicalType, fitted: LogicalType) -> bool:
    """Whether values of one type can be values of a fitted type, if the values themselves allow it.

    Types that have a common type can. So can dates and timestamps without a zone (a date is its
    midnight), and texts the dates and times that they write as ISO 8601 says.

    >>> can_mean(logical_type(pa.timestamp("us")), logical_type(pa.date32()))
    True
    >>> can_mean(logical_type(pa.string()), logical_type(pa.int64()))
    False
    """
    if incoming.kind == fitted.kind == "list":
        items = incoming.item, fitted.item
        return items[0] is not None and items[1] is not None and can_mean(*items)
    if fitted == NULL:
        return incoming == NULL
    if {incoming.kind, fitted.kind} == {"date", "timestamp"}:
        return incoming.zone is None and fitted.zone is None
    if incoming.kind == "text" and fitted.kind in ("date", "timestamp"):
        return True
    return common_type(incoming, fitted) is not None


def _common_time(one: LogicalType, other: LogicalType) -> LogicalType | None:
    if one.kind == "date":
        return LogicalType("date", "day")
    if (one.zone is None) != (other.zone is None):
        return None
    zone = one.zone if one.zone == other.zone else "UTC"
    return replace(one, detail=max(one.detail, other.detail, key=UNITS.index), zone=zone)


def unify(column: str, types: Iterable[tuple[str, LogicalType]]) -> LogicalType:
    """The one logical type of a column in all files of a data set.

    Args:
        column: its name.
        types: the name of each file, and the type that the column has there.

    Raises:
        DataError: there is none; it names the files that disagree.
    """
    files: dict[LogicalType, list[str]] = {}
    for file, kind in types:
        files.setdefault(kind, []).append(file)
    shared = NULL
    for kind in files:
        wider = common_type(shared, kind)
        if wider is None:
            raise _disagreement(column, files, kind)
        shared = wider
    return shared


def _disagreement(column: str, files: dict[LogicalType, list[str]], kind: LogicalType) -> DataError:
    """The error for files of which those with `kind` are the first that do not fit."""
    first = next(other for other in files if other != NULL and common_type(other, kind) is None)
    fault = f"holds {kind} in {_named(files[kind])}, and {first} in {_named(files[first])}"
    remedy = f"store it as {first} in all files"
    if first.kind == kind.kind == "timestamp":
        remedy = "give its times a zone in all files, or in none"
    elif "other" in (first.kind, kind.kind):
        remedy = "store it as one type in all files"
    return SourceLocation(files[kind][0]).error(fault, remedy, column=column)


def _named(files: list[str]) -> str:
    more = len(files) - NAMED_FILES
    named = ", ".join(files[:NAMED_FILES])
    return named if more <= 0 else f"{named} and {more} more"
