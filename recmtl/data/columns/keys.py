"""Category values in one canonical form: int64 or text, exact, never through a float.

Integers, integral floats, booleans, dates and times become int64; strings stay text; null and NaN
are missing. All work is done on the distinct values of a column: a column is `codes` into them.

List columns -> the values kept of each list and where they go in the padded block.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.errors import SourceLocation
from recmtl.schema import ListOf

__all__ = [
    "AnyArray",
    "KeptValues",
    "KeyType",
    "Keys",
    "as_type",
    "category_keys",
    "kept_values",
    "missing_rows",
    "plain_array",
    "stable_hash",
]

KeyType = Literal["int64", "string"]
AnyArray = Any  # a pyarrow array or chunked array; pyarrow ships no types

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TEXT_BASE = np.uint64(0x100000001B3)


@dataclass(frozen=True)
class Keys:
    """A column of categories.

    Attributes:
        codes: int64 [rows], index into `values`, -1 where missing.
        values: the distinct values, an Arrow array of int64, string or large_string without nulls.
            A value can stand here twice (0.0 and -0.0), and can be used by no row.
    """

    codes: npt.NDArray[np.int64]
    values: AnyArray

    @property
    def type(self) -> KeyType:
        """Which of the two canonical types the values have."""
        return "int64" if pa.types.is_int64(self.values.type) else "string"


def plain_array(column: AnyArray) -> AnyArray:
    """One Arrow array of a chunked or plain one, without run ends or extension type."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def category_keys(column: AnyArray, name: str, place: SourceLocation) -> Keys:
    """The canonical categories of a single-valued column, or a `DataError` naming it."""
    array = plain_array(column)
    if pa.types.is_null(array.type):
        return Keys(np.full(len(array), -1), pa.array([], pa.int64()))
    if not pa.types.is_dictionary(array.type):
        _refuse_nested(array.type, name, place)
        array = _distinct(array, name, place)
    codes = array.indices
    if codes.null_count:
        codes = codes.fill_null(-1)
    values, missing = _canonical(array.dictionary, name, place)
    codes = codes.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    if missing is not None:
        # Drop the missing values and renumber the others; code -1 reads the appended last entry.
        renumbered = np.append(np.where(missing, -1, np.cumsum(~missing) - 1), -1)
        codes = renumbered[codes]
    return Keys(codes, values)


def _refuse_nested(kind: Any, name: str, place: SourceLocation) -> None:
    if pa.types.is_nested(kind):
        remedy = "declare kind: list" if _is_list(kind) else "unpack it into plain columns"
        raise place.error(f"holds {kind}, not single values", remedy, column=name)


def _distinct(array: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    try:
        return array.dictionary_encode()
    except pa.ArrowNotImplementedError as fault:
        remedy = "store it as int64 or text"
        raise place.error(f"holds {array.type}, not categories", remedy, column=name) from fault


def _is_list(kind: Any) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists)


def _canonical(
    values: AnyArray, name: str, place: SourceLocation
) -> tuple[AnyArray, npt.NDArray[np.bool_] | None]:
    """The values without missing ones as int64 or text, and which were missing (None: none)."""
    missing: npt.NDArray[np.bool_] | None = None
    if values.null_count or pa.types.is_floating(values.type):
        missing = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        if missing.any():
            values = values.filter(pa.array(~missing))
        else:
            missing = None
    return _cast(values, name, place), missing


def _cast(values: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    kind = values.type
    try:
        if pa.types.is_floating(kind):
            return _integral(values, name, place)
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
            return values.cast(pa.int64())
        if pa.types.is_date32(kind) or pa.types.is_time32(kind):
            return values.cast(pa.int32()).cast(pa.int64())
        if pa.types.is_temporal(kind):
            return values.cast(pa.int64())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return values
        if _is_other_text(kind):
            return values.cast(pa.large_string())
    except pa.ArrowInvalid as fault:
        remedy = "store it as int64 or text"
        raise place.error(f"cannot be read as categories ({fault})", remedy, column=name) from fault
    raise place.error(f"holds {kind}, not categories", "store it as int64 or text", column=name)


def _is_other_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string_view(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    )


def _integral(values: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.all((np.abs(floats) < 2.0**63) & (floats == np.floor(floats))):
        fault = "holds fractions or infinities, which are no categories"
        raise place.error(fault, "declare kind: numeric, or round it", column=name)
    return pa.array(floats.astype(np.int64))


def as_type(values: AnyArray, wanted: KeyType, name: str, place: SourceLocation) -> AnyArray:
    """Canonical values as the type that a vocabulary was fitted on, or a `DataError`."""
    if pa.types.is_int64(values.type) == (wanted == "int64"):
        return values
    if wanted == "string":
        return values.cast(pa.large_string())
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid as fault:
        texts = values.to_pylist()
        example = next((text for text in texts if not _is_whole(text)), texts[0])
        message = f"holds text such as {example!r} where whole numbers were fitted"
        raise place.error(message, "give the type it had in training", column=name) from fault


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 19


def stable_hash(values: AnyArray, seed: int = 0) -> npt.NDArray[np.uint64]:
    """uint64 [values] hash of int64 or text values, equal on every machine and in every process."""
    if pa.types.is_int64(values.type):
        raw = values.to_numpy(zero_copy_only=False).view(np.uint64)
    else:
        raw = _hash_text(values)
    salt = (seed * int(_GOLDEN) + int(_GOLDEN)) % 2**64
    return _mix(_mix(raw ^ np.uint64(salt)))


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output.
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    return x ^ (x >> np.uint64(31))


def _hash_text(values: AnyArray) -> npt.NDArray[np.uint64]:
    """Polynomial in the bytes modulo 2^64, for all values at once."""
    array = values.cast(pa.large_binary())
    _, offsets_buffer, data = array.buffers()
    if len(array) == 0:
        return np.zeros(0, np.uint64)
    offsets = np.frombuffer(offsets_buffer, np.int64, len(array) + 1, array.offset * 8)
    text = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]] if data is not None else None
    lengths = np.diff(offsets)
    total = np.zeros(len(array), np.uint64)
    if text is None or len(text) == 0:
        return total
    powers = np.cumprod(np.full(int(lengths.max()), _TEXT_BASE, np.uint64), dtype=np.uint64)
    starts = offsets[:-1] - offsets[0]
    position = np.arange(len(text)) - np.repeat(starts, lengths)
    terms = (text.astype(np.uint64) + np.uint64(1)) * powers[position]
    filled = lengths > 0
    # reduceat would give an empty text its neighbour's first byte, so only filled ones are summed.
    total[filled] = np.add.reduceat(terms, starts[filled])
    return total


def missing_rows(column: AnyArray) -> npt.NDArray[np.bool_]:
    """Where a column is null or NaN, bool [rows]."""
    mask = pc.is_null(plain_array(column), nan_is_null=True)
    return np.asarray(mask.to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class KeptValues:
    """The values kept of a batch of lists.

    Attributes:
        keys: the kept values, row after row.
        slots: bool [rows, max_length], where they go; its True entries in row order are `keys`.
    """

    keys: Keys
    slots: npt.NDArray[np.bool_]


def kept_values(column: AnyArray, feature: ListOf, place: SourceLocation) -> KeptValues:
    """At most `max_length` values from the kept end of each list; a null list is an empty one."""
    array = plain_array(column)
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.int64()))
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        raise place.error(_fault(array.type), "declare kind: categorical", column=feature.column)
    offsets = array.offsets.to_numpy().astype(np.int64, copy=False)
    starts, lengths = offsets[:-1], np.diff(offsets)
    if array.null_count:
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    kept = np.minimum(lengths, feature.max_length)
    slots = np.arange(feature.max_length) < kept[:, None]
    if feature.keep == "last":
        starts = starts + (lengths - kept)
    values = array.values
    positions = (starts[:, None] + np.arange(feature.max_length))[slots]
    if len(positions) == len(values):
        return KeptValues(category_keys(values, feature.column, place), slots)
    values = values.take(pa.array(positions))
    return KeptValues(category_keys(values, feature.column, place), slots)


def _fault(kind: Any) -> str:
    return f"holds {kind}, not lists"
