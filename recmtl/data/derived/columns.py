"""Columns -> what single rows derive: formulas, lengths of lists, exact values, parts of times, ...

A derived column is encoded like any other: what is computed here is all that sets it apart. The
statistics of the past, which need the rows before, are in `recmtl.data.statistics`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import as_lists
from recmtl.data.columns.numeric import finite_numbers, numbers
from recmtl.data.derived.ages import event_ages
from recmtl.data.derived.crosses import crossed
from recmtl.data.derived.missing import filled
from recmtl.data.derived.ngrams import ngram_lists
from recmtl.data.derived.times import parts_of_times
from recmtl.errors import SourceLocation
from recmtl.schema import (
    ComputedColumn,
    Cross,
    Datetime,
    DerivedFeature,
    ListOf,
    Numeric,
    Schema,
    Text,
    Vector,
)

__all__ = ["exact_keys", "with_computed", "with_derived"]


def with_derived(
    columns: Mapping[str, AnyArray], schema: Schema, place: SourceLocation
) -> dict[str, AnyArray]:
    """Canonical columns with one more for each formula and each derived feature of a row alone.

    Raises:
        DataError: a column holds no lists, no times, no texts or no finite numbers.
    """
    columns = with_computed(columns, schema.formulas_of_features, place)
    every = dict(columns)
    for feature in schema.features:
        if isinstance(feature, Datetime):
            every |= parts_of_times(feature, columns, place)
    for entry in schema.computed:
        # Lists that are read through vectors need what was fitted: see `RowEncoder`.
        if not isinstance(entry.source, Datetime | Vector):
            every[entry.feature.column] = _derived(entry, every, place)
    return every


def _derived(
    entry: DerivedFeature, columns: Mapping[str, AnyArray], place: SourceLocation
) -> AnyArray:
    source, column = entry.source, entry.columns[0]
    if isinstance(source, Cross):
        return crossed(source.columns, columns, place)
    if isinstance(source, Text):
        return ngram_lists(columns[column], source, place)
    if isinstance(entry.feature, ListOf):
        events, rows = (columns[of] for of in entry.columns)
        return event_ages(events, rows, entry.columns, place)
    if isinstance(source, Numeric):
        return value_keys(filled(columns[column], source, place), column, place)
    return list_count(columns[column], column, place)


def with_computed(
    columns: Mapping[str, AnyArray], formulas: Sequence[ComputedColumn], place: SourceLocation
) -> dict[str, AnyArray]:
    """Canonical columns with one more for each formula, null where it has no finite value.

    Raises:
        DataError: a column that a formula reads holds no numbers.

    >>> columns = {"watch_s": pa.array([5, 3, None]), "length_s": pa.array([10, 0, 4])}
    >>> ratio = ComputedColumn("ratio", "watch_s / length_s")
    >>> with_computed(columns, [ratio], SourceLocation())["ratio"].to_pylist()
    [0.5, None, None]
    """
    every = dict(columns)
    for computed in formulas:
        operands = {name: numbers(columns[name], name, place) for name in computed.parsed.names}
        rows = len(columns[computed.parsed.names[0]])
        values = computed.parsed.where_finite(operands, rows=rows)
        every[computed.name] = pa.array(values, from_pandas=True)
    return every


def list_count(array: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """How many values each list of a canonical column has, missing ones included; null of null.

    >>> list_count(pa.array([[7, None], [], None]), "seen", SourceLocation()).to_pylist()
    [2, 0, None]
    """
    return pc.list_value_length(as_lists(array, name, place))


def value_keys(array: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """A key for each value of a canonical column of numbers, see `exact_keys`; null if missing.

    >>> keys = value_keys(pa.array([3, None, 3]), "age", SourceLocation())
    >>> keys.equals(value_keys(pa.array([3.0, None, 3.0]), "age", SourceLocation()))
    True
    """
    values = finite_numbers(array, name, place)
    return pa.array(exact_keys(values), mask=np.isnan(values))


def exact_keys(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Numbers [values] as the int64 of their bits, so that a vocabulary can hold them.

    A value has one key, however wide its column is: whole numbers up to 2^53 are told apart, and
    fractions at the precision of float32. -0.0 is 0.0.

    >>> exact_keys(np.array([0.1, -0.0])) == exact_keys(np.array([np.float32(0.1), 0.0]))
    array([ True,  True])
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is whole
        narrow = values.astype(np.float32).astype(np.float64)
    whole = values == np.floor(values)
    return (np.where(whole, values, narrow) + 0.0).view(np.int64)
