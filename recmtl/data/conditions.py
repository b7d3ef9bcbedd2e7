"""A schema's `Condition` on a column: which rows satisfy it, and on which rows nothing is known."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.keys import AnyArray, missing_rows, plain_array
from recmtl.data.numeric import numbers
from recmtl.data.places import Place
from recmtl.schema import Condition

__all__ = ["satisfied"]

Bools = npt.NDArray[np.bool_]


def satisfied(condition: Condition, column: AnyArray, place: Place) -> tuple[Bools, Bools]:
    """Where a rule holds and where the column is missing, both bool [rows].

    Raises:
        DataError: the rule compares numbers with text.
    """
    array = plain_array(column)
    if condition.at_least is not None:
        values = numbers(array, condition.column, place)
        return values >= condition.at_least, np.isnan(values)
    single = () if condition.equals is None else (condition.equals,)
    options = condition.one_of or single
    return _is_in(array, options, condition.column, place), missing_rows(array)


def _is_in(array: AnyArray, options: tuple[Any, ...], name: str, place: Place) -> Bools:
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if pa.types.is_null(kind):
        return np.zeros(len(array), np.bool_)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    for option in options:
        if isinstance(option, str) != is_text:
            fault = f"holds {kind}, and the rule compares it with {option!r}"
            quotes = "in quotes" if is_text else "without quotes"
            raise place.error(fault, f"write the value in the schema {quotes}", column=name)
    if is_text:
        return _text_in(array, kind, options)
    if pa.types.is_integer(kind) and all(isinstance(option, int) for option in options):
        # Exact, where a float64 would merge integers beyond 2^53.
        plain = array.dictionary_decode() if kind is not array.type else array
        whole = plain.fill_null(0).to_numpy(zero_copy_only=False)
        return np.isin(whole, np.array(options)) & ~missing_rows(array)
    return np.isin(numbers(array, name, place), np.array(options, np.float64))


def _text_in(array: AnyArray, kind: Any, options: tuple[Any, ...]) -> Bools:
    wanted = pa.array(options, kind)
    if not pa.types.is_dictionary(array.type):
        return np.asarray(pa.compute.is_in(array, value_set=wanted).to_numpy(zero_copy_only=False))
    found = pa.compute.is_in(array.dictionary, value_set=wanted).to_numpy(zero_copy_only=False)
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(found, False)[codes])
