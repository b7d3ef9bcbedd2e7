"""Several columns of categories -> one of their combinations, as text: `Paris & 7`."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.keys import Keys, category_keys
from recmtl.errors import SourceLocation

__all__ = ["crossed"]

BETWEEN = " & "
FEW = 8
"""Distinct combinations up to which Python joins them."""
ESCAPED = (("\\", r"\\"), ("&", r"\&"))
"""What a text writes otherwise, so that no two combinations are written alike."""


def crossed(
    names: Sequence[str], columns: Mapping[str, AnyArray], place: SourceLocation
) -> AnyArray:
    """The combination in each row of canonical columns, a dictionary of text; null where one is.

    Args:
        names: the columns that are crossed.
        columns: canonical columns by name.
        place: where they come from.

    Raises:
        DataError: a column holds no categories, or lists.

    >>> columns = {"city": pa.array(["Rome", None, "Rome"]), "day": pa.array([3, 3, 4])}
    >>> crossed(["city", "day"], columns, SourceLocation()).to_pylist()
    ['Rome & 3', None, 'Rome & 4']
    """
    whole = _keys(columns[names[0]], names[0], place)
    for name in names[1:]:
        whole = _pairs(whole, _keys(columns[name], name, place))
    missing = whole.codes < 0
    codes = pa.array(np.where(missing, 0, whole.codes), mask=missing)
    return pa.DictionaryArray.from_arrays(codes, whole.values)


def _keys(array: AnyArray, name: str, place: SourceLocation) -> Keys:
    """The categories of a column, as texts in which the mark between two stands escaped."""
    if kind_of(array) == "list":
        fault = f"holds {array.type}, and a cross is of single values"
        raise place.error(fault, "leave it out of the columns of the cross", column=name)
    keys = category_keys(array, name, place)
    values = keys.values.cast(pa.large_string())
    if keys.type == "string":
        for mark, escaped in ESCAPED:
            values = pc.replace_substring(values, mark, escaped)
    return Keys(keys.codes, values)


def _pairs(left: Keys, right: Keys) -> Keys:
    """The distinct pairs of two columns of texts; one with a missing value is missing."""
    width = max(len(right.values), 1)
    both = np.where((left.codes < 0) | (right.codes < 0), -1, left.codes * width + right.codes)
    distinct, codes = np.unique(both, return_inverse=True)
    has_missing = int(len(distinct) > 0 and distinct[0] < 0)
    of_left, of_right = np.divmod(distinct[has_missing:], width)
    if len(of_left) <= FEW:  # as of a request, for which Arrow takes longer to start than to join
        of_each = left.values.to_pylist(), right.values.to_pylist()
        pairs = zip(of_left.tolist(), of_right.tolist(), strict=True)
        joined = [f"{of_each[0][i]}{BETWEEN}{of_each[1][j]}" for i, j in pairs]
        return Keys(codes.reshape(-1) - has_missing, pa.array(joined, pa.large_string()))
    texts = (left.values.take(pa.array(of_left)), right.values.take(pa.array(of_right)))
    values = pc.binary_join_element_wise(*texts, pa.scalar(BETWEEN, pa.large_string()))
    return Keys(codes.reshape(-1) - has_missing, values)
