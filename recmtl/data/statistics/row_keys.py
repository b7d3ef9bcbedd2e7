"""Rows -> their keys, each a hash of 64 bits.

A hash holds any key in eight bytes: whole numbers never share one, and of a hundred million texts
or keys of several columns any two do with a chance of 1 in 3,700.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.keys import Keys, KeyType, as_type, category_keys, stable_hash
from recmtl.errors import SourceLocation

__all__ = ["RowKeys", "key_types", "row_keys"]

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowKeys:
    """The E keys of some rows: one a row that has a key, or one for each element of its list.

    Attributes:
        hashes: uint64 [V], which hold every distinct key.
        codes: int64 [E], index into `hashes`.
        rows: int64 [E], the row of each key, in increasing order; None if it is 0, 1, 2, ...
    """

    hashes: npt.NDArray[np.uint64]
    codes: Ints
    rows: Ints | None


def key_types(columns: Mapping[str, AnyArray], names: Sequence[str]) -> tuple[KeyType | None, ...]:
    """What the keys in canonical columns are; None where a column holds only nulls."""
    types: list[KeyType | None] = []
    for name in names:
        kind, array = kind_of(columns[name]), columns[name]
        if kind == "list":
            array = array.values
            kind = kind_of(array)
        no_keys = kind == "null" or len(array) == array.null_count
        types.append(None if no_keys else "string" if kind in ("text", "binary") else "int64")
    return tuple(types)


def row_keys(
    columns: Mapping[str, AnyArray],
    names: Sequence[str],
    place: SourceLocation,
    *,
    types: Sequence[KeyType | None],
    buckets: int | None = None,
) -> RowKeys:
    """The keys of rows; a row in which a part of its key is missing has none.

    Args:
        columns: canonical columns.
        names: the columns of the key; one of lists stands alone.
        place: where the rows come from.
        types: on which the state was fitted, by column.
        buckets: number of different hashes; None for all.

    Raises:
        DataError: a column holds no categories, others than were fitted, or lists among several.
    """
    if len(names) == 1 and kind_of(columns[names[0]]) == "list":
        return _of_lists(columns[names[0]], names[0], place, key_type=types[0], buckets=buckets)
    hashes, codes = _hashes(columns[names[0]], names[0], place, key_type=types[0], seed=0)
    if len(names) > 1:
        missing, combined = codes < 0, np.append(hashes, np.uint64(0))[codes]
        for i, name in enumerate(names[1:], start=1):
            more, codes = _hashes(columns[name], name, place, key_type=types[i], seed=i)
            missing |= codes < 0
            combined ^= np.append(more, np.uint64(0))[codes]
            # A sum of hashes would take (a, b) and (b, a) for one key; each step mixes anew.
            combined = stable_hash(pa.array(combined.view(np.int64)), seed=i)
        hashes, codes = combined, np.where(missing, -1, np.arange(len(combined)))
    return _without_missing(hashes, codes, None, buckets)


def _of_lists(
    lists: AnyArray,
    name: str,
    place: SourceLocation,
    *,
    key_type: KeyType | None,
    buckets: int | None,
) -> RowKeys:
    offsets = lists.offsets.to_numpy().astype(np.int64, copy=False)
    lengths = np.diff(offsets)
    if lists.null_count:
        lengths = np.where(lists.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    rows = np.repeat(np.arange(len(lists)), lengths)
    values = lists.flatten()  # of lists that are not null, as `lengths` counts them
    hashes, codes = _hashes(values, name, place, key_type=key_type, seed=0)
    return _without_missing(hashes, codes, rows, buckets)


def _hashes(
    column: AnyArray, name: str, place: SourceLocation, *, key_type: KeyType | None, seed: int
) -> tuple[npt.NDArray[np.uint64], Ints]:
    if kind_of(column) == "list":
        fault = "holds lists, and the key has other columns too"
        raise place.error(fault, "give lists an entry of their own", column=name)
    keys: Keys = category_keys(column, name, place)
    values = keys.values if key_type is None else as_type(keys.values, key_type, name, place)
    return stable_hash(values, seed), keys.codes


def _without_missing(
    hashes: npt.NDArray[np.uint64], codes: Ints, rows: Ints | None, buckets: int | None
) -> RowKeys:
    if buckets is not None:
        hashes = hashes % np.uint64(buckets)
    if len(codes) and codes.min() < 0:
        kept = np.flatnonzero(codes >= 0)
        codes, rows = codes[kept], kept if rows is None else rows[kept]
    return RowKeys(hashes, codes, rows)
