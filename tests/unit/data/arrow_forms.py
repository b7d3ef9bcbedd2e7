"""The same values in every Arrow form that holds them, by logical type."""

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

Form = Callable[[list[Any]], Any]


def cast_to(kind: Any) -> Form:
    """Values as an Arrow array of one type."""
    return lambda values: pa.array(values, kind)


def dictionary_of(kind: Any) -> Form:
    """Values behind dictionary codes."""
    return lambda values: pa.array(values, kind).dictionary_encode()


def view_in_a_dictionary(values: list[Any]) -> Any:
    """Text views, over which Arrow makes no dictionary by itself, behind codes."""
    plain = pa.array(values, pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(plain.indices, plain.dictionary.cast(pa.string_view()))


def run_ends(kind: Any) -> Form:
    """Values as runs."""
    return lambda values: pa.compute.run_end_encode(pa.array(values, kind))


def as_bytes(kind: Any) -> Form:
    """Texts as UTF-8 bytes."""
    return lambda values: pa.array([None if v is None else v.encode() for v in values], kind)


def as_decimals(kind: Any) -> Form:
    """Numbers as decimals."""
    return lambda values: pa.array([None if v is None else Decimal(str(v)) for v in values], kind)


def as_extension(values: list[Any]) -> Any:
    """Whole numbers from 0 to 1 in Arrow's one-byte boolean."""
    storage = pa.array([None if v is None else int(v) for v in values], pa.int8())
    return pa.ExtensionArray.from_storage(pa.bool8(), storage)


def in_chunks(kind: Any) -> Form:
    """Values in two chunks and an empty one."""
    return lambda values: pa.chunked_array([values[:1], [], values[1:]], kind)


def in_a_slice(kind: Any) -> Form:
    """Values as the middle of a longer array."""
    return lambda values: pa.array([None, *values, None], kind).slice(1, len(values))


DAY = datetime.date(2024, 5, 1)
NOON = datetime.datetime(2024, 5, 1, 12)
INTEGERS: dict[str, Form] = {
    **{name: cast_to(name) for name in ("int8", "int16", "int32", "int64")},
    **{name: cast_to(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    "decimal32": as_decimals(pa.decimal32(3, 0)),
    "decimal64": as_decimals(pa.decimal64(18, 0)),
    "decimal128": as_decimals(pa.decimal128(38, 0)),
    "decimal256": as_decimals(pa.decimal256(76, 0)),
    "dictionary": dictionary_of(pa.int32()),
    "run ends": run_ends(pa.int16()),
    "chunks": in_chunks(pa.int64()),
    "slice": in_a_slice(pa.uint16()),
}
FLOATS: dict[str, Form] = {
    **{name: cast_to(name) for name in ("float32", "float64")},
    "float16": lambda values: pa.array(values).cast(pa.float16()),
    "decimal128": as_decimals(pa.decimal128(10, 2)),
    "decimal256": as_decimals(pa.decimal256(50, 2)),
    "dictionary": dictionary_of(pa.float64()),
    "run ends": run_ends(pa.float32()),
    "chunks": in_chunks(pa.float64()),
    "slice": in_a_slice(pa.float32()),
}
TEXTS: dict[str, Form] = {
    **{name: cast_to(name) for name in ("string", "large_string", "string_view")},
    "dictionary": dictionary_of(pa.string()),
    "dictionary of large": dictionary_of(pa.large_string()),
    "dictionary of views": view_in_a_dictionary,
    "run ends": run_ends(pa.string()),
    "chunks": in_chunks(pa.string()),
    "slice": in_a_slice(pa.large_string()),
}
BYTES: dict[str, Form] = {
    "binary": as_bytes(pa.binary()),
    "large binary": as_bytes(pa.large_binary()),
    "binary view": as_bytes(pa.binary_view()),
    "fixed size": as_bytes(pa.binary(1)),
    "dictionary": lambda values: as_bytes(pa.binary())(values).dictionary_encode(),
}
BOOLEANS: dict[str, Form] = {
    "bool": cast_to(pa.bool_()),
    "dictionary": dictionary_of(pa.bool_()),
    "run ends": run_ends(pa.bool_()),
    "slice": in_a_slice(pa.bool_()),
}
TIMESTAMPS: dict[str, Form] = {
    unit: cast_to(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")
}
LISTS: dict[str, Form] = {
    "list": cast_to(pa.list_(pa.int64())),
    "large list": cast_to(pa.large_list(pa.int16())),
    "fixed size": cast_to(pa.list_(pa.int32(), 2)),
    "list view": cast_to(pa.list_view(pa.int64())),
    "large list view": cast_to(pa.large_list_view(pa.int8())),
    "decimals": lambda values: pa.array(
        [None if v is None else [None if x is None else Decimal(x) for x in v] for v in values],
        pa.list_(pa.decimal128(20, 0)),
    ),
    "chunks": in_chunks(pa.list_(pa.int64())),
    "slice": in_a_slice(pa.list_(pa.int64())),
    "slice of views": in_a_slice(pa.list_view(pa.int64())),
    "slice of fixed size": in_a_slice(pa.list_(pa.int64(), 2)),
}
VALUES: dict[str, list[Any]] = {
    "integer": [3, None, 1, 3, 0, 2],
    "float": [0.5, None, 1.25, 0.5, 0.0, 2.0],
    "text": ["b", None, "a", "b", "c", "d"],
    "binary": ["b", None, "a", "b", "c", "d"],
    "boolean": [True, None, False, True, False, True],
    "timestamp": [NOON, None, NOON + datetime.timedelta(1), NOON, NOON, NOON],
    "list": [[1, 2], None, [2, None], [3, 3], [0, 1], [1, 2]],
}
FORMS: dict[str, dict[str, Form]] = {
    "integer": INTEGERS,
    "float": FLOATS,
    "text": TEXTS,
    "binary": BYTES,
    "boolean": BOOLEANS,
    "timestamp": TIMESTAMPS,
    "list": LISTS,
}
CELLS = [(kind, form) for kind, forms in FORMS.items() for form in forms]
