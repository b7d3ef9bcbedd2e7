"""What a feature makes of missing values: it keeps, refuses or fills them."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, missing_rows
from recmtl.data.columns.logical_type import value_type_name
from recmtl.data.columns.numeric import numbers
from recmtl.errors import SourceLocation
from recmtl.schema import Categorical, Numeric

__all__ = ["filled"]


def filled(array: AnyArray, feature: Categorical | Numeric, place: SourceLocation) -> AnyArray:
    """A canonical column with the feature's `default` where a value is missing.

    Raises:
        DataError: a value is missing and the feature refuses that, or the default is no value of
            the column's type.

    >>> filled(pa.array([2, None]), Numeric("age", default=30), SourceLocation()).to_pylist()
    [2.0, 30.0]
    """
    if feature.default is None and feature.missing == "keep":
        return array
    missing = missing_rows(array)
    if not missing.any():
        return array
    if feature.default is None:
        fault = f"is missing in {missing.sum()} of {len(array)} rows, first in {missing.argmax()}"
        remedy = "correct them, or write missing: keep"
        raise place.error(fault, remedy, column=feature.column)
    if isinstance(feature, Numeric):
        values = numbers(array, feature.column, place)
        return pa.array(np.where(missing, feature.default, values))
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    default = _value(feature.default, array, feature, place)
    return pc.if_else(pa.array(~missing), array.cast(default.type), default)


def _value(default: str | int, array: AnyArray, feature: Categorical, place: SourceLocation) -> Any:
    """The default as a value of a column; a column of nulls has its type."""
    try:
        return pa.scalar(default, None if pa.types.is_null(array.type) else array.type)
    except (pa.ArrowException, TypeError, OverflowError) as fault:
        holds = f"holds {value_type_name(array.type)}, and the default of {feature.name!r} is "
        remedy = "give a default of the column's type"
        raise place.error(f"{holds}{default!r}", remedy, column=feature.column) from fault
