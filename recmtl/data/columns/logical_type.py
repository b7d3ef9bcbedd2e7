"""The logical type of a column, decided once for a data set, and the one Arrow form of each type.

Parquet files and callers' frames hold the same values in many Arrow forms. `logical_type` says what
a form means, `unify` decides one type for a column of many files, and `normalised` turns every form
into the canonical one. Vocabularies, numbers, labels, conditions and splits read canonical columns.

Canonical are: integers of any width; float32 and float64; booleans; text as string or large_string,
plain or as a dictionary; binary and large_binary; times of one unit and zone; list and large_list
of these. Where two types meet, a value keeps its meaning or the files are refused:

- null becomes any type, boolean becomes integer (0 and 1), binary becomes text (UTF-8);
- integer becomes float. A batch with integers beyond 2^53, which a float64 would round, stays as
  integers, so that an id loses no digit;
- times take the finest unit; instants of different zones are counted in UTC; times with and without
  a zone, dates, times of day and durations do not mix.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.errors import DataError, SourceLocation

__all__ = [
    "AnyArray",
    "LogicalType",
    "arrow_form",
    "canonical",
    "common_type",
    "kind_of",
    "logical_type",
    "missing_rows",
    "normalised",
    "unify",
    "value_type_name",
]

AnyArray = Any  # a pyarrow array or chunked array; pyarrow ships no types
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


NULL, BOOLEAN, INTEGER = LogicalType("null"), LogicalType("boolean"), LogicalType("integer")
SINGLE, DOUBLE = LogicalType("float", "single"), LogicalType("float", "double")
TEXT, BINARY = LogicalType("text"), LogicalType("binary")
_INTEGERS = (
    pa.int8(), pa.int16(), pa.int32(), pa.int64(),
    pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
)  # fmt: skip
_CANONICAL = {
    pa.null().id: NULL,
    pa.bool_().id: BOOLEAN,
    **{arrow.id: INTEGER for arrow in _INTEGERS},
    pa.float32().id: SINGLE,
    pa.float64().id: DOUBLE,
    pa.string().id: TEXT,
    pa.large_string().id: TEXT,
    pa.binary().id: BINARY,
    pa.large_binary().id: BINARY,
}
"""Forms without parameters that are canonical, by Arrow's number of the form."""
_CONVERTED = {
    pa.float16().id: SINGLE,
    pa.string_view().id: TEXT,
    pa.binary_view().id: BINARY,
    pa.binary(1).id: BINARY,
    pa.date32().id: LogicalType("date", "day"),
    pa.date64().id: LogicalType("date", "ms"),
}

_TIMES = {
    arrow.id
    for arrow in (
        pa.timestamp("s"), pa.date32(), pa.date64(),
        pa.time32("s"), pa.time64("us"), pa.duration("s"),
    )
}  # fmt: skip
_LISTS = (pa.list_(pa.null()).id, pa.large_list(pa.null()).id)
_DICTIONARY = pa.dictionary(pa.int8(), pa.string()).id


def logical_type(arrow: Any) -> LogicalType:
    """The logical type of an Arrow type.

    >>> str(logical_type(pa.list_(pa.decimal128(20, 0))))
    'list of integer'
    >>> logical_type(pa.dictionary(pa.int8(), pa.string_view())) == logical_type(pa.string())
    True
    """
    simple = _CANONICAL.get(arrow.id) or _CONVERTED.get(arrow.id)
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


def kind_of(array: AnyArray) -> Kind:
    """What the values of a canonical array are: `logical_type(array.type).kind`, without its cost.

    >>> kind_of(pa.array(["a"]).dictionary_encode())
    'text'
    """
    number = array.type.id
    simple = _CANONICAL.get(number)
    if simple is not None:
        return simple.kind
    if number in _LISTS:
        return "list"
    if number == _DICTIONARY:
        return "text"
    return logical_type(array.type).kind


def _is_list(arrow: Any) -> bool:
    views = pa.types.is_list_view(arrow) or pa.types.is_large_list_view(arrow)
    return _has_offsets(arrow) or views or pa.types.is_fixed_size_list(arrow)


def _has_offsets(arrow: Any) -> bool:
    return bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow))


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


def canonical(column: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """A column on its own in the canonical form of its type; `normalised` says what is raised."""
    if isinstance(column, pa.ChunkedArray):
        column = _one_chunk(column)
    if _is_own_form(column.type):
        return column
    return normalised(column, logical_type(column.type), name, place)


def _is_own_form(arrow: Any) -> bool:
    """Whether a form is the canonical one of its own type. Read for every column of a request."""
    number = arrow.id
    if number in _CANONICAL or number in _TIMES:
        return True
    if number in _LISTS:
        return _is_own_form(arrow.value_type)
    return number == _DICTIONARY and _CANONICAL.get(arrow.value_type.id) is TEXT


def normalised(column: AnyArray, wanted: LogicalType, name: str, place: SourceLocation) -> AnyArray:
    """A column in the canonical form of `wanted`; one that has it already is not copied.

    Args:
        column: an array or a chunked array, of a type whose common type with `wanted` is `wanted`.
        wanted: the type of the column in its data set.
        name: the column.
        place: where it comes from, for messages.

    Raises:
        DataError: a value cannot be turned into that type.

    >>> whole = pa.array([3, None]).cast(pa.decimal128(20, 0))
    >>> normalised(whole, logical_type(whole.type), "item", SourceLocation()).to_pylist()
    [3, None]
    """
    try:
        return _converted(plain_array(column), wanted)
    except pa.ArrowException as fault:
        remedy = f"correct the values, or store the column as {arrow_form(wanted)}"
        raise place.error(
            f"holds {column.type}, which cannot be read as {wanted} ({fault})", remedy, column=name
        ) from fault


def plain_array(column: AnyArray) -> AnyArray:
    """One Arrow array of a chunked or plain one, without run ends or extension type."""
    if isinstance(column, pa.ChunkedArray):
        column = _one_chunk(column)
    if isinstance(column.type, pa.BaseExtensionType):
        return plain_array(column.storage)
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def _one_chunk(column: AnyArray) -> AnyArray:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _converted(array: AnyArray, wanted: LogicalType) -> AnyArray:
    if _is_canonical(array.type, wanted):
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), arrow_form(wanted))
    if pa.types.is_dictionary(array.type):
        return _from_dictionary(array, wanted)
    if wanted.kind == "list":
        return _converted_list(array, wanted)
    if wanted.kind in ("integer", "float"):
        return _converted_number(array, wanted)
    if wanted.kind == "text" and pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.large_binary())
    return array if wanted.kind == "other" else array.cast(arrow_form(wanted))


def _is_canonical(arrow: Any, wanted: LogicalType) -> bool:
    simple = _CANONICAL.get(arrow.id)
    if simple is not None:
        return simple.kind == wanted.kind
    return _is_canonical_with_parameters(arrow, wanted)


@lru_cache(maxsize=4096)
def _is_canonical_with_parameters(arrow: Any, wanted: LogicalType) -> bool:
    if pa.types.is_dictionary(arrow):
        return wanted.kind == "text" and _is_canonical(arrow.value_type, wanted)
    if wanted.kind == "list" and wanted.item is not None:
        return _has_offsets(arrow) and _is_canonical(arrow.value_type, wanted.item)
    return wanted.is_time and bool(arrow == arrow_form(wanted))


def _from_dictionary(array: AnyArray, wanted: LogicalType) -> AnyArray:
    if wanted.kind != "text":
        return _converted(plain_array(array.dictionary_decode()), wanted)
    texts = _converted(plain_array(array.dictionary), wanted)
    return pa.DictionaryArray.from_arrays(array.indices, texts)


def _converted_list(array: AnyArray, wanted: LogicalType) -> AnyArray:
    assert wanted.item is not None
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    elif not _has_offsets(array.type):
        array = _from_list_view(array)
    items = _converted(plain_array(array.values), wanted.item)
    if items is array.values:
        return array
    form = pa.LargeListArray if pa.types.is_large_list(array.type) else pa.ListArray
    offsets = pa.array(array.offsets.to_numpy())
    return form.from_arrays(offsets, items, mask=array.is_null() if array.null_count else None)


def _from_list_view(array: AnyArray) -> AnyArray:
    """A list view as lists. Arrow's own cast fails on slices (version 25)."""
    lengths = pc.list_value_length(array).fill_null(0).to_numpy()
    offsets = pa.array(np.append(0, np.cumsum(lengths, dtype=np.int64)))
    return pa.LargeListArray.from_arrays(offsets, array.flatten(), mask=array.is_null())


def _converted_number(array: AnyArray, wanted: LogicalType) -> AnyArray:
    kind = logical_type(array.type).kind
    if kind == "float":
        # Unsafe rounds decimals to the nearest float64, as any reader of them must.
        return array.cast(arrow_form(logical_type(array.type)), safe=False)
    if kind == "boolean":
        return array.cast(pa.uint8() if wanted.kind == "integer" else pa.float64())
    try:
        if pa.types.is_decimal(array.type):
            array = _whole_decimals(array).cast(pa.int64())
        return array.cast(pa.float64()) if wanted.kind == "float" else array
    except pa.ArrowInvalid:
        # Decimals beyond 64 bits, and integers that float64 would round, stay what they are.
        return array


def _whole_decimals(array: AnyArray) -> AnyArray:
    """Decimals without fraction as decimals of scale 0, from which Arrow casts right."""
    if pa.types.is_decimal256(array.type):
        return array.cast(pa.decimal256(76, 0))
    return array.cast(pa.decimal128(38, 0))


def missing_rows(column: AnyArray) -> npt.NDArray[np.bool_]:
    """Where a canonical column is null or NaN, bool [rows]."""
    mask = pc.is_null(column, nan_is_null=True)
    return np.asarray(mask.to_numpy(zero_copy_only=False))
