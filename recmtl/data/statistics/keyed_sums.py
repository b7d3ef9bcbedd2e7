"""Sums by key and period, and the sums of a key between two periods.

A cell is a key, a period and its sums; cells of equal key and period add up, in any order, since
all sums are integers. The table of them is what an engine's `groupBy(key, period).sum()` gives.
Prefix sums over the cells, sorted by key and period, answer every window with two reads.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.errors import DataError

__all__ = ["KEY", "PERIOD", "KeyedSums", "added_up", "cells_table"]

KEY, PERIOD = "key", "period"
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def cells_table(keys: Hashes, periods: Ints, sums: Ints, names: Sequence[str]) -> pa.Table:
    """Cells as a table: `key`, `period`, and a column for each of the sums [cells, S]."""
    columns = [pa.array(np.ascontiguousarray(column)) for column in sums.T]
    return pa.table([pa.array(keys), pa.array(periods), *columns], names=[KEY, PERIOD, *names])


def added_up(tables: Sequence[pa.Table]) -> pa.Table:
    """One cell for each key and period of the tables, in no particular order."""
    whole = pa.concat_tables(tables)
    names = [name for name in whole.column_names if name not in (KEY, PERIOD)]
    # One thread: the integers are the same on many, but the caller's cores are not ours.
    cells = whole.group_by([KEY, PERIOD], use_threads=False)
    return cells.aggregate([(name, "sum") for name in names]).rename_columns([KEY, PERIOD, *names])


class KeyedSums:
    """The sums of each key, by period.

    Attributes:
        names: of the sums.
        keys: uint64 [K], increasing.
        periods: int64 [Q], the distinct periods, increasing.
    """

    def __init__(self, cells: pa.Table) -> None:
        """Index cells, each key and period once.

        Args:
            cells: as `cells_table` gives them, in any order.
        """
        self.names = tuple(cells.column_names[2:])
        key, period = (cells[name].to_numpy() for name in (KEY, PERIOD))
        order = np.lexsort((period, key))
        key, self._period = key[order], period[order]
        is_first = np.append(True, key[1:] != key[:-1])[: len(key)]
        self.keys: Hashes = key[is_first]
        self.periods: Ints = np.unique(self._period)
        # A cell's code orders cells by key, then by the rank of the period among all.
        position = np.cumsum(is_first) - 1
        self._codes: Ints = position * self._ranks + np.searchsorted(self.periods, self._period)
        if len(order) > 1 and not (np.diff(self._codes) > 0).all():
            raise DataError("statistics: a key and period stands twice; prepare the data again")
        self._prefix = np.zeros((len(order) + 1, len(self.names)), np.int64)
        for i, name in enumerate(self.names):
            # A sum of all keys may wrap round; differences of it come out right all the same.
            np.cumsum(cells[name].to_numpy()[order], out=self._prefix[1:, i])

    @property
    def _ranks(self) -> int:
        return len(self.periods) + 1

    def __len__(self) -> int:
        """Number of cells."""
        return len(self._codes)

    @property
    def last_period(self) -> int | None:
        """The last period that has a cell; None without cells."""
        return int(self.periods[-1]) if len(self.periods) else None

    def cells(self) -> pa.Table:
        """The cells, sorted by key and period."""
        keys = self.keys[self._codes // self._ranks]
        return cells_table(keys, self._period, np.diff(self._prefix, axis=0), self.names)

    def by_period(self) -> "KeyedSums":
        """The sums over all keys, as those of one key, which is 0."""
        cells = self.cells()
        zeros = pa.array(np.zeros(len(cells), np.uint64))
        return KeyedSums(added_up([cells.set_column(0, KEY, zeros)]))

    def find(self, keys: Hashes) -> Ints:
        """The position of each key, -1 where there is none: int64 [keys]."""
        if len(self.keys) == 0:
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)

    def first_cell(self, position: Ints, rank: Ints) -> Ints:
        """The first cell of each key whose period has at least this rank; of no key, cell 0."""
        cell = np.searchsorted(self._codes, position * self._ranks + rank)
        return np.where(position < 0, 0, cell)

    def rank(self, periods: Ints) -> Ints:
        """How many of the distinct periods are before each of these."""
        rank: Ints = np.searchsorted(self.periods, periods)
        return rank

    def between(self, first: Ints, last: Ints) -> Ints:
        """The sums of the cells from `first` up to and without `last`: int64 [..., S]."""
        sums: Ints = self._prefix[last] - self._prefix[first]
        return sums

    def last_cell_with(self, name: str, before: Ints) -> Ints:
        """The last cell before each that has a positive sum of this name, -1 if there is none."""
        cells: Ints = self._last_with[self.names.index(name)][before]
        return cells

    @cached_property
    def _last_with(self) -> list[Ints]:
        """Of each sum and cell the last earlier cell with a positive sum, of any key."""
        numbers = np.arange(len(self._codes))
        positive = np.diff(self._prefix, axis=0) > 0
        return [
            np.append(-1, np.maximum.accumulate(np.where(column, numbers, -1)))
            for column in positive.T
        ]

    def period_of(self, cell: Ints) -> Ints:
        """The period of each cell."""
        period: Ints = self._period[cell]
        return period
