"""Rows of a request, as JSON, pandas and Spark hand them over, in the types that were fitted.

MLflow hands every request on as a pandas DataFrame. What JSON has no type for comes as text: dates,
times and durations as ISO 8601, binary as base64, whole numbers beyond 2^53 as their digits.
`json_rows` writes rows in these forms, `request_rows` reads them. Everything else means what it
means to `Scorer.score`.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, normalised, plain_array
from recmtl.data.columns.logical_type import NULL, LogicalType, arrow_form, logical_type
from recmtl.errors import DataError, SourceLocation, first_line
from recmtl.serve.frames import column_names, require_columns, to_arrow

__all__ = ["json_rows", "request_rows"]

HERE = SourceLocation()
LARGEST_WHOLE = 2**53
"""Of a whole number in JSON: many readers make floats of them, pandas where one is missing."""


def request_rows(frame: pd.DataFrame, types: Mapping[str, LogicalType]) -> pa.Table:
    """The input columns of a request as an Arrow table.

    Args:
        frame: the rows. A column that is left out counts as missing in every row.
        types: the fitted type of every input column.

    Raises:
        DataError: the frame has none of the columns, or values that cannot mean what a column does.

    >>> days = {"day": logical_type(pa.date32()), "city": logical_type(pa.string())}
    >>> request_rows(pd.DataFrame({"day": ["2024-05-01"]}), days).to_pydict()
    {'day': [datetime.date(2024, 5, 1)], 'city': [None]}
    """
    names = column_names(frame)
    present = [name for name in types if name in names]
    if not present:
        remedy = f"give at least one of {', '.join(types)}"
        raise DataError(f"input: has none of the model's columns; {remedy:.500}")
    require_columns(present, names, source="input")
    table = to_arrow(_one_value_a_row(frame, present, types), present)
    columns = {name: pa.nulls(table.num_rows) for name in types}
    for name in present:
        columns[name] = _as_fitted(table[name], types[name], name)
    return pa.table(columns)


def json_rows(rows: pa.Table) -> pd.DataFrame:
    """Rows as JSON can hold them, in the forms that `request_rows` reads; null is None."""
    columns = {
        name: pd.Series(_json_column(rows[name]), dtype=object) for name in rows.column_names
    }
    return pd.DataFrame(columns)


def _one_value_a_row(
    frame: pd.DataFrame, present: list[str], types: Mapping[str, LogicalType]
) -> pd.DataFrame:
    """MLflow takes `inputs` of which all columns are text for one row, with lists in its cells."""
    single = [name for name in present if types[name].kind != "list"]
    if len(frame) != 1 or not single:
        return frame
    if not all(isinstance(frame[name].iloc[0], list) for name in single):
        return frame
    try:
        return frame[present].explode(present, ignore_index=True)
    except ValueError:
        raise DataError("input: its columns differ in length; give one value a row") from None


def _as_fitted(column: AnyArray, wanted: LogicalType, name: str) -> AnyArray:
    """A column in its fitted type, of which a bundle of release 0.1 may know nothing."""
    array = _from_text(plain_array(column), wanted, name)
    return array if wanted == NULL else normalised(array, wanted, name, HERE)


def _from_text(array: AnyArray, wanted: LogicalType, name: str) -> AnyArray:
    """Values in place of the texts that JSON holds for them."""
    kind = logical_type(array.type)
    if kind.item is not None and wanted.item is not None and kind.item.kind == "text":
        lists = array.cast(pa.large_list(pa.large_string()))
        items = _from_text(lists.values, wanted.item, name)
        mask = lists.is_null() if lists.null_count else None
        return pa.LargeListArray.from_arrays(pa.array(lists.offsets.to_numpy()), items, mask=mask)
    if kind.kind != "text" or wanted.kind not in READERS:
        return array
    form, read = READERS[wanted.kind]
    try:
        return read(array.cast(pa.large_string()), wanted)
    except (pa.ArrowException, ValueError, OverflowError) as fault:
        reason = first_line(fault)
        holds = f"holds text that is no {wanted} ({reason:.200})"
        raise HERE.error(holds, f"give it as {form}", column=name) from None


def _number(texts: AnyArray, wanted: LogicalType) -> AnyArray:
    return texts.cast(pa.int64() if wanted.kind == "integer" else pa.float64())


def _binary(texts: AnyArray, wanted: LogicalType) -> AnyArray:
    values = [None if text is None else _from_base64(text) for text in texts.to_pylist()]
    return pa.array(values, arrow_form(wanted))


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as fault:
        raise ValueError(f"{text!r:.40}: {fault}") from None


def _duration(texts: AnyArray, _: LogicalType) -> AnyArray:
    return pa.array(pd.to_timedelta(texts.to_pandas()), from_pandas=True)


def _timestamp(texts: AnyArray, wanted: LogicalType) -> AnyArray:
    """In a unit that has all digits of the texts: Arrow refuses more than a unit has."""
    for unit in dict.fromkeys((wanted.detail, "us")):
        try:
            return texts.cast(pa.timestamp(unit, wanted.zone))
        except pa.ArrowInvalid:
            continue
    return texts.cast(pa.timestamp("ns", wanted.zone))


def _time_of_day(texts: AnyArray, _: LogicalType) -> AnyArray:
    """Arrow parses no times of a day, so each becomes a time of the first day."""
    first_day, nothing = (pa.scalar(text, pa.large_string()) for text in ("1970-01-01T", ""))
    of_first_day = pc.binary_join_element_wise(first_day, texts, nothing)
    return of_first_day.cast(pa.timestamp("ns")).cast(pa.time64("ns"))


READERS: dict[str, tuple[str, Callable[[AnyArray, LogicalType], AnyArray]]] = {
    "integer": ("a number, or its digits", _number),
    "float": ("a number, or its digits", _number),
    "binary": ("base64", _binary),
    "duration": ("ISO 8601, such as PT90S", _duration),
    "timestamp": ("ISO 8601, with a zone where training had one", _timestamp),
    "time of day": ("ISO 8601, such as 12:30:00", _time_of_day),
}
"""By kind of value its form in text, and what reads that. Text for dates is Arrow's own."""


def _json_column(column: AnyArray) -> list[Any]:
    values = [_json_value(value) for value in column]
    whole = (value for value in _flat(values) if type(value) is int)
    if any(abs(value) > LARGEST_WHOLE for value in whole):
        return [_digits(value) for value in values]
    return values


def _flat(values: list[Any]) -> Iterator[Any]:
    for value in values:
        yield from _flat(value) if isinstance(value, list) else [value]


def _digits(value: Any) -> Any:
    if isinstance(value, list):
        return [_digits(item) for item in value]
    return None if value is None else str(value)


def _json_value(value: Any) -> Any:
    """A value of an Arrow array as JSON holds it."""
    kind = logical_type(value.type)
    if not value.is_valid:
        return None
    if kind.kind == "list":
        return [_json_value(item) for item in value.values]
    if kind.kind == "duration":
        return pd.Timedelta(value.value, value.type.unit).isoformat()
    if kind.kind == "timestamp":
        return pd.Timestamp(value.value, unit=value.type.unit, tz=value.type.tz).isoformat()
    if kind.kind == "time of day":
        return str(value.cast(pa.string()))
    plain = value.as_py()
    if kind.kind == "date":
        return plain.isoformat()
    if kind.kind == "binary":
        return base64.b64encode(plain).decode()
    if kind.kind == "float":
        number = float(plain)
        return number if number == number else None
    return int(plain) if kind.kind == "integer" else plain
