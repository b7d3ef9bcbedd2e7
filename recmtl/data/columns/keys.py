"""Category values in one canonical form: int64 or text, exact, never through a float.

Integers, integral floats, booleans, dates and times become int64; text and UTF-8 bytes are text;
null and NaN are missing. Floats so large that they round whole numbers are refused. All work is
done on the distinct values of a column: a column is `codes` into them. Of a list column the values
are those that are kept, with their slots in the padded block. Columns are canonical, see
`recmtl.data.columns.logical_type`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.logical_type import value_type_name
from recmtl.errors import SourceLocation
from recmtl.schema import Categorical, ListOf

__all__ = [
    "KeptValues",
    "KeyType",
    "Keys",
    "as_lists",
    "as_type",
    "category_keys",
    "feature_keys",
    "group_keys",
    "kept_values",
    "list_lengths",
    "refuse_unequal_lengths",
    "stable_hash",
]

KeyType = Literal["int64", "string"]

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


def category_keys(array: AnyArray, name: str, place: SourceLocation) -> Keys:
    """The categories of a canonical column of single values.

    Raises:
        DataError: the column holds lists, fractions or other values that are no categories.

    >>> keys = category_keys(pa.array([7.0, None, 9.0, 7.0]), "item", SourceLocation())
    >>> keys.codes.tolist(), keys.values.to_pylist()
    ([0, -1, 1, 0], [7, 9])
    """
    if pa.types.is_null(array.type):
        return Keys(np.full(len(array), -1), pa.array([], pa.int64()))
    is_text = pa.types.is_dictionary(array.type)
    if not is_text:
        _refuse_what_is_no_category(array, name, place)
        array = array.dictionary_encode()
    codes, values = array.indices, array.dictionary
    if codes.null_count:
        codes = codes.fill_null(-1)
    codes = codes.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    if is_text and not values.null_count:  # a canonical dictionary holds text, its own key
        return Keys(codes, values)
    values, missing = _without_missing(values)
    if missing is not None:
        # Drop the missing values and renumber the others; code -1 reads the appended last entry.
        renumbered = np.append(np.where(missing, -1, np.cumsum(~missing) - 1), -1)
        codes = renumbered[codes]
    return Keys(codes, _as_keys(values, name, place))


def _refuse_what_is_no_category(array: AnyArray, name: str, place: SourceLocation) -> None:
    kind = kind_of(array)
    if kind == "list":
        fault = f"holds {array.type}, not single values"
        raise place.error(fault, "declare kind: list", column=name)
    if kind == "other":
        remedy = "unpack it into plain columns of int64 or text"
        raise place.error(f"holds {array.type}, not categories", remedy, column=name)


def _without_missing(values: AnyArray) -> tuple[AnyArray, npt.NDArray[np.bool_] | None]:
    """The values that are not missing, and where the others were (None: nowhere)."""
    if values.null_count or kind_of(values) == "float":
        missing = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        if missing.any():
            return values.filter(pa.array(~missing)), missing
    return values, None


def _as_keys(values: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    kind = kind_of(values)
    if kind == "text":
        return values
    if kind == "float":
        return _integral(values, name, place)
    try:
        if kind == "binary":
            return values.cast(pa.large_string())
        if kind in ("date", "time of day") and values.type.bit_width == 32:
            values = values.cast(pa.int32())
        return values.cast(pa.int64())
    except pa.ArrowInvalid as fault:
        remedy = "store it as int64 or text"
        raise place.error(f"cannot be read as categories ({fault})", remedy, column=name) from fault


def _integral(values: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    if not np.all(floats == np.floor(floats)) or np.isinf(floats).any():
        fault = "holds fractions or infinities, which are no categories"
        raise place.error(fault, "declare kind: numeric, or round it", column=name)
    limit = 2.0**24 if pa.types.is_float32(values.type) else 2.0**53
    if np.any(np.abs(floats) > limit):
        fault = (
            f"holds {values.type} beyond {limit:.0f}, where floats stand for several ids at once"
        )
        raise place.error(fault, "store it as int64 or text", column=name)
    return pa.array(floats.astype(np.int64))


def group_keys(array: AnyArray, name: str, place: SourceLocation) -> Keys:
    """The groups of a canonical column, code -1 where a row has none; raises as `category_keys`.

    Blank text names nobody: files that came from CSV write a missing id so.

    >>> group_keys(pa.array(["ann", " ", None, "ann"]), "user", SourceLocation()).codes.tolist()
    [0, -1, -1, 0]
    """
    keys = category_keys(array, name, place)
    if keys.type == "int64":
        return keys
    blank = pc.equal(pc.utf8_trim_whitespace(keys.values), "").to_numpy(zero_copy_only=False)
    codes = np.append(np.where(blank, -1, np.arange(len(blank))), -1)[keys.codes]
    return Keys(codes, keys.values)


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


@dataclass(frozen=True)
class KeptValues:
    """The values kept of a batch of lists.

    Attributes:
        keys: the kept values, row after row.
        slots: bool [rows, max_length], where they go; its True entries in row order are `keys`.
    """

    keys: Keys
    slots: npt.NDArray[np.bool_]


def kept_values(array: AnyArray, feature: ListOf, place: SourceLocation) -> KeptValues:
    """At most `max_length` values from the kept end of each list; a null list is an empty one.

    Raises:
        DataError: the canonical column holds no lists, or their values are no categories.
    """
    array = as_lists(array, feature.column, place)
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
    if len(positions) < len(values):
        values = values.take(pa.array(positions))
    return KeptValues(category_keys(values, feature.column, place), slots)


def feature_keys(array: AnyArray, feature: Categorical | ListOf, place: SourceLocation) -> Keys:
    """The categories of a feature's canonical column, of a list those that are kept of it.

    Raises:
        DataError: as `category_keys` and `kept_values`.
    """
    if isinstance(feature, ListOf):
        return kept_values(array, feature, place).keys
    return category_keys(array, feature.column, place)


def list_lengths(array: AnyArray, name: str, place: SourceLocation) -> npt.NDArray[np.int64]:
    """Values of each list of a canonical column, int64 [rows]; a null list has none."""
    lengths = pc.list_value_length(as_lists(array, name, place)).fill_null(0)
    whole: npt.NDArray[np.int64] = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return whole


def refuse_unequal_lengths(
    columns: Mapping[str, AnyArray], aligned: Sequence[tuple[str, str]], place: SourceLocation
) -> None:
    """Raise a `DataError` for the first row in which two aligned columns are not equally long.

    Args:
        columns: canonical columns of lists.
        aligned: of each pair of columns the aligned one, and that of the history.
        place: where they come from.
    """
    for column, history in aligned:
        lengths, events = (list_lengths(columns[name], name, place) for name in (column, history))
        unequal = np.flatnonzero(lengths != events)
        if len(unequal):
            row = int(unequal[0])
            fault = (
                f"has {lengths[row]} values in row {row} of these, and {history!r}, with which it "
                f"is aligned, has {events[row]} ({len(unequal)} such rows of {len(events)})"
            )
            remedy = "write one value an event, null where it is unknown"
            raise place.error(fault, remedy, column=column)


def as_lists(array: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """A canonical column of lists; a `DataError` if it holds single values."""
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.int64()))
    if kind_of(array) != "list":
        fault = f"holds {value_type_name(array.type)}, not lists"
        raise place.error(fault, "declare kind: categorical", column=name)
    return array
