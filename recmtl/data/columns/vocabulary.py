"""Categories -> rows of the embedding table: by a fitted vocabulary or by hashing.

A vocabulary owns rows `first` to `first + rows - 1` of the table. The first is for unknown and
missing values; known values follow by descending count, ties by value.
"""

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import Keys, KeyType, as_type, category_keys, stable_hash
from recmtl.errors import SourceLocation

__all__ = ["KeyIndex", "Vocabulary", "VocabularyFit"]

WHOLE = 2**63
INTEGERS = pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()
FEW = 1000
"""A column of more rows is reduced to its distinct values first, unless the index is dense."""
PARTS = 64
"""Counts of at most so many batches wait to be merged: even an almost empty one takes kilobytes."""


class KeyIndex:
    """Positions of known values: a dense or a sorted array for int64, hash tables for text.

    A long column of text is looked up at once by an index of pandas, a few values by a dictionary;
    each is made when it is first asked, and both hold the same strings.
    """

    def __init__(self, values: AnyArray) -> None:
        """Index distinct keys.

        Args:
            values: as in `Keys`; value i has position i.
        """
        self._values, self._is_text = values, not pa.types.is_int64(values.type)
        if self._is_text:
            return
        whole = values.to_numpy(zero_copy_only=False)
        self._lowest = int(whole.min()) if len(whole) else 0
        span = int(whole.max()) - self._lowest + 1 if len(whole) else 0
        # A dense array answers in one read; worth its memory while it is not much longer than the
        # vocabulary. Values outside of the span read its first or its last entry, which are -1.
        self._dense: npt.NDArray[np.int32] | None = None
        if span <= 8 * len(whole) + 65_536:
            self._dense = np.full(span + 2, -1, np.int32)
            self._dense[whole - self._lowest + 1] = np.arange(len(whole))
            return
        self._order = np.argsort(whole, kind="stable")
        self._sorted = whole[self._order]

    @property
    def is_dense(self) -> bool:
        """Whether looking a value up is one read of an array."""
        return not self._is_text and self._dense is not None

    @cached_property
    def _texts(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self._index.array)}

    @cached_property
    def _index(self) -> pd.Index:
        return _text_index(self._values)

    def find(self, values: AnyArray) -> npt.NDArray[np.integer]:
        """The position of each value, -1 where unknown: integers [values].

        Args:
            values: of the index's type, or integers of less than 64 bits.
        """
        if self._is_text and len(values) > FEW:
            return self._index.get_indexer(_text_index(values))
        if self._is_text:
            positions = map(self._texts.get, values.to_pylist(), itertools.repeat(-1))
            return np.fromiter(positions, np.int64, len(values))
        wanted = values.to_numpy(zero_copy_only=False)
        if self._dense is not None:
            # Differences too large for int64 wrap round, and still end outside.
            at = wanted - np.int64(self._lowest)
            at += 1
            position: npt.NDArray[np.int32] = self._dense.take(at, mode="clip")
            return position
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[at] == wanted, self._order[at], -1)

    def find_one(self, value: int | str) -> int:
        """The position of one value of the index's type, -1 where unknown."""
        if self._is_text:
            return self._texts.get(str(value), -1)
        wanted = int(value)
        if self._dense is not None:
            place = wanted - self._lowest + 1
            return int(self._dense[place]) if 0 < place < len(self._dense) else -1
        at = min(int(np.searchsorted(self._sorted, wanted)), len(self._sorted) - 1)
        return int(self._order[at]) if self._sorted[at] == wanted else -1


def _text_index(values: AnyArray) -> pd.Index:
    texts: pd.Index = pd.Index(values.to_numpy(zero_copy_only=False), dtype=object)
    return texts


@dataclass(frozen=True)
class Vocabulary:
    """The block of table rows of one categorical feature.

    Attributes:
        name: the feature that owns it.
        type: of the values on which it was fitted.
        first: its first row in the table, which is the unknown row.
        buckets: number of hash buckets, or None for a fitted vocabulary.
        values: the known values in the order of their rows (empty when hashing).
        counts: how often the train rows held each of them; None when hashing, and in files of
            earlier releases.
        seen: the last time at which each of them is known to have been in train rows, in the order
            of `recmtl.data.split.ordered`; None before the vocabulary has grown for the first time.
    """

    name: str
    type: KeyType
    first: int
    buckets: int | None
    values: AnyArray
    counts: npt.NDArray[np.int64] | None = field(default=None, compare=False)
    seen: npt.NDArray[np.int64] | None = field(default=None, compare=False)
    _index: KeyIndex = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the look-up."""
        object.__setattr__(self, "_index", KeyIndex(self.values))

    @property
    def rows(self) -> int:
        """Rows of the table that it owns, with the unknown row."""
        return 1 + (len(self.values) if self.buckets is None else self.buckets)

    def to_json(self) -> dict[str, str | int | None]:
        """All but what there is of each value, as JSON data."""
        return {"name": self.name, "type": self.type, "first": self.first, "buckets": self.buckets}

    def rows_of_column(
        self, array: AnyArray, column: str, place: SourceLocation
    ) -> tuple[npt.NDArray[np.int32], int]:
        """What `rows_of` gives for a canonical column of single values.

        Raises:
            DataError: the column holds no categories, or none of the fitted type.
        """
        rows = self.rows_at_once(array)
        return rows or self.rows_of(category_keys(array, column, place), column, place)

    def rows_of(
        self, keys: Keys, column: str, place: SourceLocation
    ) -> tuple[npt.NDArray[np.int32], int]:
        """Table rows int32 [rows] of a column, and how many values were not missing yet unknown."""
        values = as_type(keys.values, self.type, column, place)
        position: npt.NDArray[np.integer]
        if self.buckets is not None:
            position = (stable_hash(values) % np.uint64(self.buckets)).astype(np.int64)
        else:
            position = self._index.find(values)
        # Position -1, unknown, becomes row `first`; code -1, missing, reads the appended entry.
        table = np.append(position + (self.first + 1), self.first).astype(np.int32)
        unknown = 0
        if len(position) and position.min() < 0:
            unknown = int(np.count_nonzero(np.append(position < 0, False)[keys.codes]))
        return table[keys.codes], unknown

    def rows_at_once(self, array: AnyArray) -> tuple[npt.NDArray[np.int32], int] | None:
        """What `rows_of` gives for a canonical column, without finding its distinct values.

        None where they are needed or pay: for hashing, for values of another type than the
        vocabulary's, and for a long column that no dense array answers.
        """
        looked_up = (pa.string(),) if self.type == "string" else INTEGERS
        if self.buckets is not None or array.type not in looked_up:
            return None
        if len(array) > FEW and not self._index.is_dense:
            return None
        missing = array.null_count
        if missing and self.type == "int64":
            valid = array.is_valid().to_numpy(zero_copy_only=False)
            position = np.where(valid, self._index.find(array.fill_null(0)), -1)
        else:
            position = self._index.find(array)
        unknown = int(np.count_nonzero(position < 0)) - missing
        return (position + (self.first + 1)).astype(np.int32, copy=False), unknown

    def row_of(self, value: object) -> int | None:
        """The table row of a value of the fitted type; None for any other, see `rows_of`."""
        if type(value) is str and self.type == "string":
            key: int | str = value
        elif type(value) is int and self.type == "int64" and -WHOLE <= value < WHOLE:
            key = value
        else:
            return None
        if self.buckets is None:
            return self.first + 1 + self._index.find_one(key)
        return self.first + 1 + int(stable_hash(pa.array([key]))[0] % np.uint64(self.buckets))


class VocabularyFit:
    """Counts the values of a column as it streams by; memory grows with distinct values only."""

    def __init__(self, name: str, *, min_count: int, buckets: int | None) -> None:
        """Start without values.

        Args:
            name: the feature.
            min_count: as in the schema's `Categorical`.
            buckets: as `hash_buckets` there; values are then not counted.
        """
        self.name = name
        self.min_count = min_count
        self.buckets = buckets
        self.type: KeyType | None = None
        self._counted: list[pa.Table] = []
        self._pending = 0

    def add(self, keys: Keys, column: str, place: SourceLocation) -> None:
        """Count one batch of `column`.

        Raises:
            DataError: text cannot be read as the whole numbers of the batches before it.
        """
        if self.type is None and len(keys.values):
            self.type = keys.type
        if self.type is None:
            return
        values = as_type(keys.values, self.type, column, place)
        if self.buckets is not None:
            return
        if pa.types.is_string(values.type):
            values = values.cast(pa.large_string())
        counts = np.bincount(keys.codes + 1, minlength=len(values) + 1)[1:]
        seen = np.flatnonzero(counts)
        if len(seen) < len(values):
            values, counts = values.take(pa.array(seen)), counts[seen]
        self._append(pa.table({"value": values, "count": counts}))

    def merge(self, later: "VocabularyFit") -> None:
        """Take the counts of rows that follow."""
        self.type = self.type or later.type
        for table in later._counted:
            self._append(table)

    def __getstate__(self) -> dict[str, Any]:
        """What travels between processes: each value once."""
        if self._counted:
            self._merge()
        return self.__dict__

    def _append(self, counted: pa.Table) -> None:
        self._counted.append(counted)
        self._pending += counted.num_rows
        too_many = self._pending > max(250_000, 2 * self._counted[0].num_rows)
        if too_many or len(self._counted) > PARTS:
            self._merge()

    def _merge(self) -> pa.Table:
        merged = pa.concat_tables(self._counted)
        merged = merged.group_by("value").aggregate([("count", "sum")])
        merged = merged.rename_columns(["value", "count"])
        self._counted, self._pending = [merged], 0
        return merged

    def counts(self) -> dict[int | str, int]:
        """How often each value was seen."""
        if not self._counted:
            return {}
        table = self._merge()
        return dict(zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True))

    def finish(self, first: int) -> Vocabulary:
        """The vocabulary of what was counted, with its block of rows at `first`."""
        kind: KeyType = self.type or "int64"
        values = pa.array([], pa.int64() if kind == "int64" else pa.large_string())
        counts = np.zeros(0, np.int64) if self.buckets is None else None
        if self._counted:
            table = self._merge()
            table = table.filter(pa.compute.greater_equal(table["count"], self.min_count))
            table = table.sort_by([("count", "descending"), ("value", "ascending")])
            values, counts = table["value"].combine_chunks(), table["count"].to_numpy()
        return Vocabulary(self.name, kind, first, self.buckets, values, counts)
