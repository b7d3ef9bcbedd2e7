"""Columns whose value stands in the names of folders: `dt=2024-05-01/hour=7/part-0.parquet`.

Arrow, Hive and Spark write them so: one `name=value` a folder, both percent-encoded, and a marker
for null. A column has one type in all files: integers if every value is one, text otherwise (Arrow
reads them the same way), or the type on which an encoder was fitted.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, canonical
from recmtl.data.columns.logical_type import (
    INTEGER,
    NULL,
    TEXT,
    LogicalType,
    arrow_form,
    logical_type,
)
from recmtl.errors import SourceLocation

__all__ = ["folder_values", "inferred_types", "refuse_other_values", "typed_value"]

NULL_MARKER = "__HIVE_DEFAULT_PARTITION__"
_INTEGER = re.compile(r"-?[0-9]+")


def folder_values(folders: Sequence[str], place: SourceLocation) -> dict[str, str | None]:
    """The columns that folder names hold, outermost first; None where the value is null.

    Raises:
        DataError: a name is not UTF-8, or two folders name one column.

    >>> folder_values(["logs", "dt=2024-05-01", "shop=a%2Fb"], SourceLocation())
    {'dt': '2024-05-01', 'shop': 'a/b'}
    """
    values: dict[str, str | None] = {}
    for folder in folders:
        encoded, equals, text = folder.partition("=")
        if not equals:
            continue
        try:
            name, value = unquote(encoded, errors="strict"), unquote(text, errors="strict")
        except UnicodeDecodeError as fault:
            remedy = "write the folders again, percent-encoded as UTF-8"
            raise place.error(f"lies in folder {folder!r}, which is no text", remedy) from fault
        if name in values:
            fault_line = "stands in two of the folders above the file"
            raise place.error(fault_line, "rename one of them", column=name)
        values[name] = None if value == NULL_MARKER else value
    return values


def inferred_types(files: Sequence[Mapping[str, str | None]]) -> dict[str, LogicalType]:
    """The type of each column over the folder names of all files.

    >>> kinds = inferred_types([{"hour": "07", "dt": "2024-05-01"}, {"hour": "8", "dt": None}])
    >>> {name: str(kind) for name, kind in kinds.items()}
    {'hour': 'integer', 'dt': 'text'}
    """
    types: dict[str, LogicalType] = {}
    for values in files:
        for name, text in values.items():
            before = types.setdefault(name, NULL)
            if text is not None:
                types[name] = INTEGER if before != TEXT and _is_int64(text) else TEXT
    return types


def _is_int64(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63


def typed_value(text: str | None, wanted: LogicalType, name: str, place: SourceLocation) -> Any:
    """The Arrow scalar that a folder name stands for.

    Raises:
        DataError: it is no value of that type.
    """
    form = pa.string() if wanted == TEXT else arrow_form(wanted)
    if text is None:
        return pa.scalar(None, form)
    try:
        return pa.array([text], pa.string()).cast(form)[0]
    except pa.ArrowException as fault:
        holds = f"is {text!r} in the folder's name, and {wanted} was fitted"
        raise place.error(holds, "rename the folder, or train again", column=name) from fault


def refuse_other_values(
    column: AnyArray, text: str | None, name: str, place: SourceLocation
) -> None:
    """Refuse a column of a file that holds other values than the folder's name says."""
    array = canonical(column, name, place)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    try:
        expected = pa.array([text], pa.string()).cast(arrow_form(logical_type(array.type)))[0]
        same = array.null_count == len(array) if text is None else _all_equal(array, expected)
    except pa.ArrowException:
        same = False
    if not same:
        holds = f"holds other values than {text!r}, which the folder's name says"
        raise place.error(holds, "rename the column or the folder", column=name)


def _all_equal(array: AnyArray, value: Any) -> bool:
    return array.null_count == 0 and pc.all(pc.equal(array, value)).as_py() is not False
