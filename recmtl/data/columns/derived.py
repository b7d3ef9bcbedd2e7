"""Columns -> further columns that single rows derive of them: how many values a list has.

A derived column is encoded like any other: what is computed here is all that sets it apart. The
statistics of the past, which need the rows before, are in `recmtl.data.statistics`.
"""

from collections.abc import Mapping, Sequence

import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import as_lists
from recmtl.errors import SourceLocation
from recmtl.schema import DerivedFeature

__all__ = ["with_derived"]


def with_derived(
    columns: Mapping[str, AnyArray], derived: Sequence[DerivedFeature], place: SourceLocation
) -> dict[str, AnyArray]:
    """Canonical columns with one more for each derived feature.

    Raises:
        DataError: a column holds no lists.
    """
    computed = dict(columns)
    for feature, column in ((d.feature, d.columns[0]) for d in derived):
        computed[feature.column] = list_count(columns[column], column, place)
    return computed


def list_count(array: AnyArray, name: str, place: SourceLocation) -> AnyArray:
    """How many values each list of a canonical column has, missing ones included; null of null.

    >>> import pyarrow as pa
    >>> list_count(pa.array([[7, None], [], None]), "seen", SourceLocation()).to_pylist()
    [2, 0, None]
    """
    return pc.list_value_length(as_lists(array, name, place))
