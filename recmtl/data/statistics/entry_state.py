"""The state of one entry, and what a row may know of it.

`EntryState.values` defines the numbers of a row: training, scoring and a request call it alike.
With time, a row of period p sees cells of periods before p - delay; cells of its own period or
later may be there, and change nothing. Without time, cells are those of folds, and a train row does
not see the cells of its own fold.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import KeyType
from recmtl.data.statistics.keyed_sums import PERIOD, KeyedSums, added_up
from recmtl.data.statistics.outcomes import outcome_totals
from recmtl.data.statistics.periods import TimeKind, periods, time_kind
from recmtl.data.statistics.row_keys import RowKeys, row_keys
from recmtl.errors import SourceLocation
from recmtl.schema import Outcome, PastStatistics
from recmtl.schema.statistics import StatisticNumber

__all__ = ["ALL_FOLDS", "EntryState"]

ALL_FOLDS = -2
"""The fold that no cell has: a row that sees all of them."""
EARLIER = -1
"""The fold of cells that every row may see."""
FARTHEST = 2**61
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Pairs:
    """Distinct pairs of a key and a moment: rows of one pair have equal numbers.

    Attributes:
        key: int64 [P], position of the key in the state, -1 where it was never seen.
        moment: int64 [P], index into `moments`.
        moments: int64 [M], the periods (or folds) of the rows.
    """

    key: Ints
    moment: Ints
    moments: Ints


@dataclass(frozen=True)
class EntryState:
    """What was counted for one entry of the schema.

    Attributes:
        entry: the entry.
        outcomes: what it counts.
        time: the column of times; None in a log without time.
        sums: by key and period, or by key and fold.
        types: of the key's columns; None where no value was seen.
        kind: of the times; None without time, or if none was seen.
    """

    entry: PastStatistics
    outcomes: tuple[Outcome, ...]
    time: str | None
    sums: KeyedSums
    types: tuple[KeyType | None, ...]
    kind: TimeKind | None

    @cached_property
    def numbers(self) -> tuple[StatisticNumber, ...]:
        """The numbers, in the order of their features."""
        return tuple(self.entry.numbers(self.outcomes))

    @cached_property
    def _common(self) -> KeyedSums:
        return self.sums.by_period()

    def values(
        self,
        columns: Mapping[str, AnyArray],
        rows: int,
        place: SourceLocation,
        *,
        folds: Ints | None = None,
    ) -> tuple[dict[str, Floats], int]:
        """The numbers of rows, float64 [rows], NaN where missing; and how many keys are unknown.

        Args:
            columns: the entry's columns in canonical form.
            rows: number of rows.
            place: where they come from.
            folds: in a log without time the fold of each train row; None for rows to be scored.

        Raises:
            DataError: keys or times are of another type than those that were counted.
        """
        keys = row_keys(
            columns, self.entry.keys, place, types=self.types, buckets=self.entry.hash_buckets
        )
        moments, of_row = np.unique(self._moments(columns, rows, place, folds), return_inverse=True)
        position = self.sums.find(keys.hashes)[keys.codes]
        of_key = of_row if keys.rows is None else of_row[keys.rows]
        pair, of_key = np.unique((position + 1) * len(moments) + of_key, return_inverse=True)
        pairs = _Pairs(pair // len(moments) - 1, pair % len(moments), moments) if rows else None
        numbers = {} if pairs is None else dict(self._numbers(pairs))
        values = {}
        for number in self.numbers:
            of_pair = numbers.get(number.name, np.zeros(0))
            values[number.name] = _of_rows(of_pair[of_key], keys, rows, pooled_by=number.kind)
        return values, int(np.count_nonzero(position < 0))

    def _moments(
        self,
        columns: Mapping[str, AnyArray],
        rows: int,
        place: SourceLocation,
        folds: Ints | None,
    ) -> Ints:
        """The period of each row; without time the fold that it must not see."""
        if self.time is None:
            return np.full(rows, ALL_FOLDS) if folds is None else folds
        times, last = columns[self.time], self.sums.last_period
        kind = time_kind(times, self.time, place)
        if None not in (kind, self.kind) and kind != self.kind:
            fault = f"holds {_WORDS[kind]}, and the statistics of {self.entry.name} were counted "
            remedy = "give times of the kind that the log had"
            raise place.error(f"{fault}by {_WORDS[self.kind]}", remedy, column=self.time)
        after = 0 if last is None else last + 1
        moments = periods(times, self.entry, self.time, place, missing=after)
        moments = np.clip(moments, -FARTHEST, FARTHEST)
        return moments if self.entry.freeze is None else np.minimum(moments, after)

    def _numbers(self, pairs: _Pairs) -> Iterator[tuple[str, Floats]]:
        """Every number of the pairs, float64 [P]."""
        every = np.arange(len(pairs.moments))
        common_pairs = _Pairs(np.zeros_like(every), every, pairs.moments)
        windows = list(self._windows(self.sums, pairs))
        common = list(self._windows(self._common, common_pairs))
        for number in self.numbers:
            if number.window is None:
                yield number.name, self._since(pairs, number.outcome)
            elif number.outcome is None:
                yield number.name, windows[number.window][:, 0].astype(np.float64)
            else:
                names, outcome = self.sums.names, self.outcomes[number.outcome]
                seen, total = outcome_totals(windows[number.window], names, outcome)
                of_all, total_of_all = outcome_totals(common[number.window], names, outcome)
                with np.errstate(invalid="ignore"):
                    prior = (total_of_all / of_all)[pairs.moment]
                    added = self.entry.smoothing
                    yield number.name, (total + added * prior) / (seen + added)

    def _windows(self, sums: KeyedSums, pairs: _Pairs) -> Iterator[Ints]:
        """Of each window the sums of the pairs, int64 [P, S]."""
        every, key, moment = sums.first_cell, pairs.key, pairs.moment
        if self.time is None:
            start, end = (every(key, np.full_like(key, r)) for r in (0, len(sums.periods)))
            low, high = (every(key, sums.rank(pairs.moments + step)[moment]) for step in (0, 1))
            yield sums.between(start, end) - sums.between(low, high)
            return
        after = pairs.moments - self.entry.delay_periods
        end = every(key, sums.rank(after)[moment])
        for length in self.entry.window_periods:
            rank = np.zeros_like(after) if length is None else sums.rank(after - length)
            yield sums.between(every(key, rank[moment]), end)

    def _since(self, pairs: _Pairs, outcome: int | None) -> Floats:
        """Periods since the last row, or the last row with an event; NaN if there is none."""
        after = self.sums.rank(pairs.moments - self.entry.delay_periods)[pairs.moment]
        start = self.sums.first_cell(pairs.key, np.zeros_like(pairs.key))
        end = self.sums.first_cell(pairs.key, after)
        name = self.sums.names[0] if outcome is None else f"{self.outcomes[outcome].name}.sum"
        cell = self.sums.last_cell_with(name, end)
        has_cell = (cell >= start) & (pairs.key >= 0)
        since = np.full(len(cell), np.nan)
        then = self.sums.period_of(cell[has_cell])
        since[has_cell] = pairs.moments[pairs.moment[has_cell]] - then
        return since

    def saved_cells(self) -> pa.Table:
        """The cells as they are kept: of a log without time all folds in one."""
        cells = self.sums.cells()
        if self.time is not None:
            return cells
        one_fold = pa.array(np.full(len(cells), EARLIER))
        return KeyedSums(added_up([cells.set_column(1, PERIOD, one_fold)])).cells()


_WORDS: dict[TimeKind | None, str] = {
    "number": "plain numbers",
    "instant": "times with a zone",
    "local": "times without a zone",
}


def _of_rows(of_key: Floats, keys: RowKeys, rows: int, *, pooled_by: str) -> Floats:
    """A number of the keys [E] as one of the rows; a row without keys has none."""
    if keys.rows is None:
        return of_key
    present = ~np.isnan(of_key)
    at, values = keys.rows[present], of_key[present]
    if pooled_by == "last":
        least = np.full(rows, np.inf)
        np.minimum.at(least, at, values)
        return np.where(np.isinf(least), np.nan, least)
    counts = np.bincount(at, minlength=rows)
    sums = np.bincount(at, values, minlength=rows)
    divisor = np.minimum(counts, 1) if pooled_by == "count" else counts
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / divisor)
