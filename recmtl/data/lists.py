"""List columns -> the values kept of each list and where they go in the padded block."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.keys import AnyArray, Keys, category_keys, plain_array
from recmtl.data.places import Place
from recmtl.schema import ListOf

__all__ = ["KeptValues", "kept_values"]


@dataclass(frozen=True)
class KeptValues:
    """The values kept of a batch of lists.

    Attributes:
        keys: the kept values, row after row.
        slots: bool [rows, max_length], where they go; its True entries in row order are `keys`.
    """

    keys: Keys
    slots: npt.NDArray[np.bool_]


def kept_values(column: AnyArray, feature: ListOf, place: Place) -> KeptValues:
    """At most `max_length` values from the kept end of each list; a null list is an empty one."""
    array = plain_array(column)
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.int64()))
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        raise place.error(_fault(array.type), "declare kind: categorical", column=feature.column)
    offsets = array.offsets.to_numpy().astype(np.int64, copy=False)
    starts, lengths = offsets[:-1], np.diff(offsets)
    if array.null_count:
        lengths = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    kept = np.minimum(lengths, feature.max_length)
    slots = np.arange(feature.max_length) < kept[:, None]
    if feature.keep == "last":
        starts = starts + (lengths - kept)
    values = array.values
    positions = (starts[:, None] + np.arange(feature.max_length))[slots]
    if len(positions) == len(values):
        return KeptValues(category_keys(values, feature.column, place), slots)
    values = values.take(pa.array(positions))
    return KeptValues(category_keys(values, feature.column, place), slots)


def _fault(kind: Any) -> str:
    return f"holds {kind}, not lists"
