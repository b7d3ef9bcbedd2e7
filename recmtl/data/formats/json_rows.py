"""Streams files of JSON lines, one object a row, in the types that all their values have.

JSON says what is text and what a number, and that is kept: `"7"` stays text. It has no times, so
that a column of text whose values are all dates or all times is one of those, as in other text
files. Whole numbers keep all their 64 bits. Memory holds one block of the file.
"""

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from recmtl.data.formats.text_layout import opened_text
from recmtl.data.formats.value_types import arrow_type, chosen_type, possible_types, typed
from recmtl.errors import DataError, SourceLocation, first_line
from recmtl.paths import AnyPath

__all__ = ["json_batches", "json_types", "merged_types"]

BLOCK_BYTES = 8 << 20
LONGEST_ROW = 256 << 20
EXACT = 2.0**53
"""Beyond it a float does not hold every whole number."""
TIMES = ("date", "timestamp", "zoned")
NAMES = {"struct": "an object", "list": "a list", "string": "text", "bool": "true or false"}
ROW = re.compile(r" in row (\d+)$")


def json_types(path: AnyPath) -> Any:
    """The columns of a file and their types, as an Arrow schema.

    Raises:
        DataError: the file cannot be read, a row is no object, or a column holds values of two
            kinds, such as text and numbers.
    """
    place = SourceLocation(str(path))
    types: dict[str, Any] = {}
    times: dict[str, frozenset[str]] = {}
    for table in _tables(path, {}):
        for name, column in zip(table.column_names, table.columns, strict=True):
            types[name] = _merged(types.get(name, pa.null()), column.type, name, place)
            if pa.types.is_string(column.type):
                left = times.get(name, frozenset(TIMES))
                times[name] = possible_types(column.combine_chunks(), left)
    for name, left in times.items():
        if left and pa.types.is_string(types[name]) and len(left) < len(TIMES):
            types[name] = arrow_type(chosen_type(left))
    held = {name: _held(arrow) for name, arrow in types.items()}
    return pa.schema([(name, arrow) for name, arrow in held.items() if arrow is not None])


def merged_types(schemas: Mapping[AnyPath, Any], texts: Iterable[str]) -> Any:
    """The types of the columns of several files that are read together.

    Args:
        schemas: by file what `json_types` gave.
        texts: columns that were text in a log that was encoded before, and stay so.

    Raises:
        DataError: a column holds values of two kinds.
    """
    types: dict[str, Any] = {}
    for path, schema in schemas.items():
        for field in schema:
            before = types.get(field.name, pa.null())
            place = SourceLocation(str(path))
            types[field.name] = _merged(before, field.type, field.name, place)
    for name in set(texts) & types.keys():
        types[name] = _as_read(types[name])
    return pa.schema(list(types.items()))


def json_batches(path: AnyPath, schema: Any) -> Iterator[pa.RecordBatch]:
    """The rows of a file as record batches of this schema; a key that a row lacks is null."""
    yield pa.RecordBatch.from_pylist([], schema=schema)  # a file without rows has columns
    for table in _tables(path, {field.name: _as_read(field.type) for field in schema}):
        arrays = []
        for field in schema:
            column = table.column(field.name).combine_chunks()
            if column.type != field.type:
                kind = next(name for name in TIMES if arrow_type(name) == field.type)
                column = typed(column, kind)
            arrays.append(column)
        yield pa.record_batch(arrays, schema=schema)


def _tables(path: AnyPath, types: Mapping[str, Any]) -> Iterator[Any]:
    """The rows, block by block; columns that `types` does not name in types that fit the block."""
    place, first = SourceLocation(str(path)), 0
    for block in _blocks(path, place):
        try:
            yield _typed_table(block, types) if types else _seen_table(block)
        except (pa.ArrowException, UnicodeError) as fault:
            raise _fault(first_line(fault), first, place) from fault
        first += block.count(b"\n")


def _blocks(path: AnyPath, place: SourceLocation) -> Iterator[bytes]:
    """Whole lines, about `BLOCK_BYTES` of them at a time."""
    with opened_text(path) as stream:
        rest = stream.read(3).removeprefix(b"\xef\xbb\xbf")
        while piece := stream.read(BLOCK_BYTES):
            end = piece.rfind(b"\n") + 1
            if end:
                if (block := rest + piece[:end]).strip():
                    yield block
                rest = piece[end:]
            else:
                rest += piece
            if len(rest) > LONGEST_ROW:
                remedy = "write one object a line (`jq -c .`)"
                raise place.error(f"has a line of more than {LONGEST_ROW:,} bytes", remedy)
        if rest.strip():
            yield rest


def _typed_table(block: bytes, types: Mapping[str, Any], *, is_seen: bool = False) -> Any:
    """The rows in these types; other keys are left out, or seen in what type they are."""
    reading = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    parsing = pj.ParseOptions(
        explicit_schema=pa.schema(list(types.items())) if types else None,
        unexpected_field_behavior="infer" if is_seen else "ignore",
    )
    return pj.read_json(io.BytesIO(block), read_options=reading, parse_options=parsing)


def _seen_table(block: bytes) -> Any:
    """The rows in the types that PyArrow sees, but for times, which it rounds, and large numbers.

    Raises:
        pyarrow.ArrowException: a row is no object, or a column holds values of two kinds.
    """
    seen = _typed_table(block, {}, is_seen=True)
    exact = {f.name: _as_read(f.type) for f in seen.schema if _as_read(f.type) != f.type}
    seen = _typed_table(block, exact, is_seen=True) if exact else seen
    for field in seen.schema:
        if pa.types.is_floating(field.type) and _holds_large(seen.column(field.name)):
            try:
                whole = {**exact, field.name: pa.uint64()}
                seen = _typed_table(block, whole, is_seen=True)
            except pa.ArrowInvalid:
                continue  # some are negative or fractions: floats after all
            exact = whole
    return seen


def _holds_large(column: Any) -> bool:
    return bool(pc.any(pc.greater_equal(pc.abs(column), EXACT)).as_py())


def _held(arrow: Any) -> Any:
    """The type without objects that have no key in any row, which no format holds; or None."""
    if pa.types.is_list(arrow):
        item = _held(arrow.value_type)
        return None if item is None else pa.list_(item)
    if not pa.types.is_struct(arrow):
        return arrow
    fields = {field.name: _held(field.type) for field in arrow}
    left = [(name, kept) for name, kept in fields.items() if kept is not None]
    return pa.struct(left) if left else None


def _as_read(arrow: Any) -> Any:
    """The type with text where PyArrow would see a time."""
    if pa.types.is_temporal(arrow):
        return pa.string()
    if pa.types.is_list(arrow):
        return pa.list_(_as_read(arrow.value_type))
    if pa.types.is_struct(arrow):
        return pa.struct([(field.name, _as_read(field.type)) for field in arrow])
    return arrow


def _merged(one: Any, other: Any, name: str, place: SourceLocation) -> Any:
    """The type of a column that has these two."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    numbers = [pa.types.is_integer(arrow) or pa.types.is_floating(arrow) for arrow in (one, other)]
    if all(numbers):
        either = {one, other}
        return pa.float64() if pa.float64() in either else pa.uint64()
    if pa.types.is_list(one) and pa.types.is_list(other):
        return pa.list_(_merged(one.value_type, other.value_type, name, place))
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in one}
        for field in other:
            before = fields.get(field.name, pa.null())
            fields[field.name] = _merged(before, field.type, f"{name}.{field.name}", place)
        return pa.struct(list(fields.items()))
    if {one, other} == {pa.date32(), pa.timestamp("us")}:
        return pa.timestamp("us")
    if _as_read(one) == _as_read(other):
        return pa.string()  # times in some files, other text in others
    kinds = [NAMES.get(str(arrow).partition("<")[0], "a number") for arrow in (one, other)]
    fault = f"holds {kinds[0]} in some rows, {kinds[1]} in others"
    raise place.error(fault, "write one kind of value", column=name)


def _fault(reason: str, first: int, place: SourceLocation) -> DataError:
    """What PyArrow refuses, with the row of the file in place of that of the block."""
    reason = reason.removeprefix("JSON parse error: ")
    reason = ROW.sub(lambda row: f" in row {first + int(row[1])}", reason)
    if "Column() changed" in reason:
        return place.error(
            f"a row is no object ({reason})", "write one object a line (`jq -c .[]`)"
        )
    return place.error(f"cannot be read as JSON lines ({reason})", "correct the row, or drop it")
