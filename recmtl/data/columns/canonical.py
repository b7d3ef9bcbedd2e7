"""The one Arrow form of each logical type, in which columns are read.

Vocabularies, numbers, labels, rules and splits take canonical columns, and so need not know in how
many forms Arrow holds a value. `normalised` is the one way to them: a log calls it with the type
that its files share, an encoder with the type that was fitted. `canonical` keeps a column's own
type, for encoders of release 0.1, which name none.

Canonical are integers of any width; float32 and float64; booleans; text as string or large_string,
plain or in a dictionary; binary and large_binary; times in the unit and the zone of their type;
list and large_list of these. Two forms stay what they are, so that no id loses a digit: decimals
without fraction beyond 64 bits, and integers beyond 2^53 in a column of floats.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.logical_type import (
    Kind,
    LogicalType,
    arrow_form,
    can_mean,
    logical_type,
)
from recmtl.errors import SourceLocation

__all__ = ["AnyArray", "canonical", "kind_of", "missing_rows", "normalised", "plain_array"]

AnyArray = Any  # a pyarrow array or chunked array; pyarrow ships no types

_TEXTS = (pa.string(), pa.large_string())
_PLAIN = (
    pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(),
    pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(), pa.float64(),
    *_TEXTS, pa.binary(), pa.large_binary(),
)  # fmt: skip
_COUNTED = (
    pa.timestamp("s"), pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.duration("s"),
)  # fmt: skip
# Arrow's numbers of the canonical forms: to compare them costs a tenth of comparing types.
_KINDS: dict[int, Kind] = {arrow.id: logical_type(arrow).kind for arrow in (*_PLAIN, *_COUNTED)}
_KINDS |= dict.fromkeys((pa.list_(pa.null()).id, pa.large_list(pa.null()).id), "list")
_LISTS = {number for number, kind in _KINDS.items() if kind == "list"}
_TEXT_FORMS = {arrow.id for arrow in _TEXTS}
_TIME_FORMS = {arrow.id for arrow in _COUNTED}
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
_DICTIONARY = pa.dictionary(pa.int8(), pa.string()).id


def canonical(column: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """A column on its own in the canonical form of its type; `normalised` says what is raised."""
    if isinstance(column, pa.ChunkedArray):
        column = _one_chunk(column)
    if _is_own_form(column.type):
        return column
    return normalised(column, logical_type(column.type), name, place)


def _is_own_form(arrow: Any) -> bool:
    """Whether a form is the canonical one of its own type; asked for every column of a request."""
    number = arrow.id
    if number in _LISTS:
        return _is_own_form(arrow.value_type)
    if number == _DICTIONARY:
        return arrow.value_type.id in _TEXT_FORMS
    return number in _KINDS


def kind_of(array: AnyArray) -> Kind:
    """What the values of a canonical array are: `logical_type(array.type).kind`, without its cost.

    >>> kind_of(pa.array(["a"]).dictionary_encode())
    'text'
    """
    number = array.type.id
    return _KINDS.get(number) or _kind_of_other_form(array.type)


def _kind_of_other_form(arrow: Any) -> Kind:
    return "text" if arrow.id == _DICTIONARY else logical_type(arrow).kind


class _OtherMeaning(Exception):
    """Values that are none of the wanted type; the text says which, if only some are not."""


def normalised(column: AnyArray, wanted: LogicalType, name: str, place: SourceLocation) -> AnyArray:
    """A column in the canonical form of `wanted`; one that has it already is not copied.

    Args:
        column: an array or a chunked array of any type. Rows that are all null or NaN have any
            type that is wanted.
        wanted: the type of the column in its data set, or in the log on which a model was fitted.
        name: the column.
        place: where it comes from, for messages.

    Raises:
        DataError: the column or a value in it cannot mean what the wanted type does.

    >>> whole = pa.array([3, None]).cast(pa.decimal128(20, 0))
    >>> normalised(whole, logical_type(whole.type), "item", SourceLocation()).to_pylist()
    [3, None]
    >>> seconds = logical_type(pa.timestamp("s"))
    >>> normalised(pa.array([5000], pa.timestamp("ms")), seconds, "ts", SourceLocation()).type
    TimestampType(timestamp[s])
    """
    if isinstance(column, pa.ChunkedArray):
        column = _one_chunk(column)
    if _is_canonical(column.type, wanted):
        return column
    try:
        if not len(column) and not can_mean(logical_type(column.type), wanted):
            raise _OtherMeaning  # its type alone is at fault, and would be with rows
        return _converted(plain_array(column), wanted)
    except _OtherMeaning as fault:
        holds = f"holds {str(fault) or logical_type(column.type)}, and {wanted} was fitted"
        remedy = f"give it as {arrow_form(wanted)}, the type of training"
        raise place.error(holds, remedy, column=name) from fault
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
    kind = logical_type(array.type)
    if not can_mean(kind, wanted):
        if missing_rows(array).all():
            return pa.nulls(len(array), arrow_form(wanted))
        raise _OtherMeaning
    if wanted.item is not None:
        return _converted_list(array, wanted.item)
    if wanted.kind in ("boolean", "integer", "float"):
        return _converted_number(array, wanted)
    if wanted.is_time:
        return _converted_time(array, wanted)
    if wanted.kind == "other":
        return array
    # Arrow casts neither views nor bytes of a fixed size to the other of text and binary.
    plain = pa.large_string() if kind.kind == "text" else pa.large_binary()
    return array.cast(plain).cast(arrow_form(wanted))


def _is_canonical(arrow: Any, wanted: LogicalType) -> bool:
    number = arrow.id
    if number in _LISTS:
        item = wanted.item
        return wanted.kind == "list" and item is not None and _is_canonical(arrow.value_type, item)
    if number == _DICTIONARY:
        return wanted.kind == "text" and arrow.value_type.id in _TEXT_FORMS
    if number in _TIME_FORMS:
        return wanted.is_time and bool(arrow == arrow_form(wanted))
    return _KINDS.get(number) == wanted.kind


def _from_dictionary(array: AnyArray, wanted: LogicalType) -> AnyArray:
    if wanted.kind != "text":
        values = plain_array(array.dictionary)
        if values.type in _VIEWS:  # of which Arrow takes no rows
            values = values.cast(_VIEWS[values.type])
        return _converted(values.take(array.indices), wanted)
    texts = _converted(plain_array(array.dictionary), wanted)
    return pa.DictionaryArray.from_arrays(array.indices, texts)


def _converted_list(array: AnyArray, item: LogicalType) -> AnyArray:
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    elif array.type.id not in _LISTS:
        array = _from_list_view(array)
    values = array.values
    items = _converted(plain_array(values), item)
    if items is values:
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
    if wanted.kind == "boolean":
        return _as_booleans(array)
    if kind == "float":
        return _converted_float(array, wanted)
    if kind == "boolean":
        return array.cast(pa.uint8() if wanted.kind == "integer" else pa.float64())
    try:
        if pa.types.is_decimal(array.type):
            array = _whole_decimals(array).cast(pa.int64())
        return array.cast(pa.float64()) if wanted.kind == "float" else array
    except pa.ArrowInvalid:
        # Decimals beyond 64 bits, and integers that float64 would round, stay what they are.
        return array


def _converted_float(array: AnyArray, wanted: LogicalType) -> AnyArray:
    """Floats and decimals with a scale; such as stand for integers are whole, or stay floats.

    pandas makes floats of integers where one is missing. Fractions are for the feature to judge: a
    number may have them, a category not.
    """
    if wanted.kind == "integer" and pa.types.is_decimal(array.type):
        try:
            return _converted_number(_whole_decimals(array), wanted)
        except pa.ArrowInvalid:
            pass
    # Unsafe rounds decimals to the nearest float64, as any reader of them must.
    return array.cast(arrow_form(logical_type(array.type)), safe=False)


def _as_booleans(array: AnyArray) -> AnyArray:
    """Numbers that are all 0 or 1 as booleans, NaN as null."""
    values = array.cast(pa.float64(), safe=False)
    values = pc.if_else(pc.is_nan(values), None, values)
    others = values.filter(pc.invert(pc.is_in(values, value_set=pa.array([0.0, 1.0, None]))))
    if len(others):
        raise _OtherMeaning(f"{logical_type(array.type)} such as {others[0].as_py():g}")
    return values.cast(pa.bool_())


def _converted_time(array: AnyArray, wanted: LogicalType) -> AnyArray:
    form = arrow_form(wanted)
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.large_string())
    if wanted.kind != "date" or not pa.types.is_timestamp(array.type):
        return array.cast(form)
    # Arrow would take the day of any time.
    days = array.cast(pa.date32())
    within = array.filter(pc.not_equal(days.cast(array.type), array))
    if len(within):
        raise _OtherMeaning(f"times within a day, such as {within[:1].cast(pa.string())[0]}")
    return days.cast(form)


def _whole_decimals(array: AnyArray) -> AnyArray:
    """Decimals without fraction as decimals of scale 0, from which Arrow casts right."""
    if pa.types.is_decimal256(array.type):
        return array.cast(pa.decimal256(76, 0))
    return array.cast(pa.decimal128(38, 0))


def missing_rows(column: AnyArray) -> npt.NDArray[np.bool_]:
    """Where a canonical column is null or NaN, bool [rows]."""
    mask = pc.is_null(column, nan_is_null=True)
    return np.asarray(mask.to_numpy(zero_copy_only=False))
