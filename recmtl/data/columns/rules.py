"""Rules of a schema (`Condition`): where a canonical column meets what they name."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of, missing_rows, normalised
from recmtl.data.columns.logical_type import TEXT, value_type_name
from recmtl.data.columns.numeric import numbers
from recmtl.errors import SourceLocation
from recmtl.schema import Condition, TaskSpec

__all__ = ["rule_rows", "satisfied"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
TIMES = ("timestamp", "date")
"""Kinds that a rule compares with text as ISO 8601 writes them."""


def satisfied(condition: Condition, array: AnyArray, place: SourceLocation) -> tuple[Bools, Bools]:
    """Where a rule holds and where the canonical column is missing, both bool [rows].

    Raises:
        DataError: the rule compares numbers with text, or looks into what is no list.

    >>> rule = Condition("seconds", at_least=10)
    >>> holds, missing = satisfied(rule, pa.array([12, 3, None]), SourceLocation())
    >>> holds.tolist(), missing.tolist()
    ([True, False, False], [False, False, True])
    """
    name, bounds = condition.column, _bounds(condition)
    if bounds is not None:
        values, (low, high) = numbers(array, name, place), _rounded(bounds, array)
        return (values >= low) & (values <= high), np.isnan(values)
    missing = missing_rows(array)
    if condition.is_missing is not None:
        return missing == condition.is_missing, np.zeros(len(missing), np.bool_)
    if condition.contains is not None:
        return _holds_one_of(array, condition.options, name, place), missing
    among = _is_one_of(array, condition.options, name, place)
    return among if condition.not_ is None else ~among & ~missing, missing


def _bounds(condition: Condition) -> tuple[float, float] | None:
    """The least and the greatest number that meet a rule of bounds; None of another rule."""
    if condition.between is not None:
        return condition.between
    low, high = condition.at_least, condition.at_most
    if low is None and high is None:
        return None
    return -np.inf if low is None else low, np.inf if high is None else high


def rule_rows(
    path: Sequence[TaskSpec], columns: pa.RecordBatch, place: SourceLocation
) -> tuple[Bools, Bools]:
    """Where the `rows` rules of all tasks of a path hold, and where the column of one is missing.

    Both are bool [rows]. The rules of all events before a task in its funnel hold for it too.
    """
    holds, missing = np.ones(columns.num_rows, np.bool_), np.zeros(columns.num_rows, np.bool_)
    for task in path:
        if task.rows is not None:
            of_rule = satisfied(task.rows, columns.column(task.rows.column), place)
            holds &= of_rule[0]
            missing |= of_rule[1]
    return holds, missing


def _is_one_of(
    array: AnyArray, options: tuple[Any, ...], name: str, place: SourceLocation
) -> Bools:
    kind = kind_of(array)
    if kind == "null":
        return np.zeros(len(array), np.bool_)
    if kind == "binary":
        array, kind = normalised(array, TEXT, name, place), "text"
    as_text = kind == "text" or kind in TIMES
    for option in options:
        if isinstance(option, str) != as_text:
            quotes = "in quotes" if as_text else "without quotes"
            fault = f"holds {value_type_name(array.type)}, and the rule compares it with {option!r}"
            raise place.error(fault, f"write the value in the schema {quotes}", column=name)
    if kind == "text":
        return _is_text_of(array, options)
    if kind in TIMES:
        return _is_time_of(array, options, name, place)
    if pa.types.is_integer(array.type) and all(isinstance(option, int) for option in options):
        # Exact, where a float64 would merge integers beyond 2^53.
        whole = array.fill_null(0).to_numpy(zero_copy_only=False)
        bounds = np.iinfo(whole.dtype)
        within = [option for option in options if bounds.min <= option <= bounds.max]
        return np.isin(whole, np.array(within, whole.dtype)) & ~missing_rows(array)
    return np.isin(numbers(array, name, place), _rounded(options, array))


def _holds_one_of(
    array: AnyArray, options: tuple[Any, ...], name: str, place: SourceLocation
) -> Bools:
    """Where a column of lists holds one of the options; false where it has no list."""
    if kind_of(array) == "null":
        return np.zeros(len(array), np.bool_)
    if kind_of(array) != "list":
        fault = f"holds {value_type_name(array.type)} and no lists, and the rule says contains"
        raise place.error(fault, "write equals or one_of", column=name)
    inside = _is_one_of(array.flatten(), options, name, place)
    before = np.append(0, np.cumsum(inside))
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    return np.asarray(before[ends] > before[ends - lengths])


def _rounded(options: Sequence[float], array: AnyArray) -> Floats:
    """A rule's numbers at the precision of a column: no float32 equals the float64 of 0.1."""
    wide = np.array(options, np.float64)
    if not pa.types.is_float32(array.type):
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32).astype(np.float64)
    return np.where(np.isfinite(narrow), narrow, wide)


def _is_time_of(
    array: AnyArray, options: tuple[str, ...], name: str, place: SourceLocation
) -> Bools:
    """Where a column of times holds one of those that the texts write."""
    try:
        values = pa.array(options, pa.string()).cast(array.type)
    except pa.ArrowException as fault:
        remedy = "write the value as the column's type is written, as in 2024-05-31T18:00:00"
        holds = f"holds {array.type}, and the rule compares it with {', '.join(options)}"
        raise place.error(holds, remedy, column=name) from fault
    equal = pc.is_in(array, value_set=values)
    return np.asarray(equal.to_numpy(zero_copy_only=False))


def _is_text_of(array: AnyArray, options: tuple[Any, ...]) -> Bools:
    texts = array.dictionary if pa.types.is_dictionary(array.type) else array
    equal = pc.is_in(texts, value_set=pa.array(options, texts.type))
    equal = equal.to_numpy(zero_copy_only=False)
    if texts is array:
        return np.asarray(equal)
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(equal, False)[codes])
