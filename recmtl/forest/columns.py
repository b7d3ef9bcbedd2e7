"""Encoded rows as the columns that a tree splits.

Ids become codes by descending frequency on the train rows. LightGBM reads small vocabularies as
categories and large ones as ordered numbers, frequent ids first, so that a split separates head
from tail. A list is read as the number of its values. Numeric features stay as they are encoded:
the encoding is monotone, so a tree sees no difference. Each number of a vector is a column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recmtl.data.encoding import Encoding, ListField

__all__ = ["Codes", "ForestColumns"]

UNSEEN = -1


@dataclass(frozen=True)
class Codes:
    """The code of each id of a column: 0, 1, 2, ... by descending train frequency; -1 = unseen.

    Attributes:
        first: the smallest id of the train rows.
        code: the code of `first`, `first + 1`, ...
    """

    first: int
    code: NDArray[np.int32]

    @staticmethod
    def fit(ids: NDArray[np.int32]) -> "Codes":
        """The codes of the ids `[R]` of train rows."""
        first = int(ids.min()) if len(ids) else 0
        counts = np.bincount(ids - first) if len(ids) else np.zeros(1, np.int64)
        code = np.empty(len(counts), np.int32)
        code[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
        code[counts == 0] = UNSEEN
        return Codes(first, code)

    def __call__(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """The codes of ids `[R]`."""
        position = ids.astype(np.int64) - self.first
        inside = (position >= 0) & (position < len(self.code))
        return np.where(inside, self.code[np.clip(position, 0, len(self.code) - 1)], UNSEEN)

    def grown(self, starts: NDArray[np.int64]) -> "Codes":
        """The codes of a grown table, of which row r was the row `starts[r]` before."""
        position = starts - self.first
        rows = np.flatnonzero((position >= 0) & (position < len(self.code)))
        if not len(rows):
            return Codes(0, np.full(1, UNSEEN, np.int32))
        first, last = int(rows[0]), int(rows[-1])
        return Codes(first, self(starts[first : last + 1].astype(np.int32)))


@dataclass(frozen=True)
class ForestColumns:
    """Maps encoded rows to the matrix of columns that forests are grown on, and evaluated on.

    Attributes:
        codes: of each categorical feature.
        lists: the list features.
        largest_category: distinct ids up to which a feature is a category.
    """

    codes: tuple[Codes, ...]
    lists: tuple[ListField, ...]
    largest_category: int

    @staticmethod
    def fit(
        ids: NDArray[np.int32], encoding: Encoding, *, largest_category: int
    ) -> "ForestColumns":
        """The columns of a log with these ids `[R, I]` of its train rows."""
        codes = (Codes.fit(np.asarray(ids[:, i])) for i in range(len(encoding.single)))
        return ForestColumns(tuple(codes), encoding.lists, largest_category)

    def grown(self, starts: NDArray[np.int64], encoding: Encoding) -> "ForestColumns":
        """The columns of an encoder whose vocabularies have grown; new ids count as unknown ones.

        Args:
            starts: of each row of its table, the row of the earlier table that it starts from.
            encoding: of its rows.
        """
        codes = tuple(of_column.grown(starts) for of_column in self.codes)
        return ForestColumns(codes, encoding.lists, self.largest_category)

    @property
    def categories(self) -> list[int]:
        """The columns whose codes are categories."""
        return [i for i, c in enumerate(self.codes) if c.code.max() < self.largest_category]

    def matrix(self, ids: NDArray[np.int32], numeric: NDArray[np.float32]) -> NDArray[np.float32]:
        """Encoded ids `[R, I]` and numbers `[R, N]` to columns `[R, F]`."""
        single, lists = len(self.codes), len(self.lists)
        x = np.empty((len(ids), single + lists + numeric.shape[1]), np.float32)
        for i, codes in enumerate(self.codes):
            x[:, i] = codes(np.asarray(ids[:, i]))
        for i, field in enumerate(self.lists, start=single):
            cells = ids[:, field.columns]
            x[:, i] = np.count_nonzero(cells, axis=1)
        x[:, single + lists :] = numeric
        return x
