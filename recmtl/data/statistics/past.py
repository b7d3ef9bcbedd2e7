"""Statistics of the past of a whole schema: counted in one pass, looked up, saved.

`PastFit` streams a log and adds up its cells; `PastState` gives every row its numbers. The rule
that holds it together: the numbers of a training row are what the scorer would have answered at
that time, since both ask `EntryState.values`.

Sample weights say what a loss should heed, not how often something happened: every row of a
`CountedLog` counts once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import KeyType, group_keys, stable_hash
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.reader import Log
from recmtl.data.split import Assign
from recmtl.data.statistics.entry_state import ALL_FOLDS, EntryState
from recmtl.data.statistics.keyed_sums import KeyedSums, added_up, cells_table
from recmtl.data.statistics.outcomes import outcome_sums, sum_names
from recmtl.data.statistics.periods import TimeKind, periods, time_kind
from recmtl.data.statistics.row_keys import key_types, row_keys
from recmtl.errors import DataError, SourceLocation, first_line
from recmtl.schema import PastStatistics, Schema

__all__ = ["PastFit", "PastState", "count_past", "refuse_number_names"]

FOLDER = "statistics"
FOLD_SEED = 3
MOST_PENDING = 500_000
LARGEST_SUM = 2.0**62
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Parts = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PastState:
    """The state of every entry of a schema, in its order.

    Attributes:
        schema: the schema.
        entries: the states.
    """

    schema: Schema
    entries: tuple[EntryState, ...]

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Names of all numbers, in the order of their features."""
        return tuple(number.name for state in self.entries for number in state.numbers)

    def part(self, schema: Schema) -> "PastState":
        """The state of the entries that a part of the schema has."""
        states = {state.entry.name: state for state in self.entries}
        return PastState(schema, tuple(states[entry.name] for entry in schema.statistics))

    def values(
        self, columns: Mapping[str, AnyArray], rows: int, place: SourceLocation
    ) -> tuple[dict[str, Floats], dict[str, int]]:
        """The numbers of rows to be scored, by name, and the unknown keys of each entry.

        A row is looked up at its time; where that is missing, right after the end of the state.
        """
        values, unknown = dict[str, Floats](), dict[str, int]()
        for state in self.entries:
            derived, unknown[state.entry.name] = state.values(columns, rows, place)
            values |= derived
        return values, unknown

    def with_numbers(self, batch: CountedBatch, parts: Parts) -> CountedBatch:
        """A batch of the log with a column for each number, as its rows could have known it.

        Args:
            batch: rows of the log, with the columns of the schema.
            parts: uint8 [rows], the part of each row.
        """
        columns = dict(zip(batch.columns.schema.names, batch.columns.columns, strict=True))
        for state in self.entries:
            folds = None
            if state.time is None:
                folds = _folds(self.schema, state.entry, batch, parts)
            derived = state.values(columns, batch.rows, batch.place, folds=folds)[0]
            columns |= {name: pa.array(values) for name, values in derived.items()}
        return replace(batch, columns=pa.record_batch(columns))

    def summary(self) -> dict[str, dict[str, int]]:
        """Of each entry the number of keys and of cells."""
        return {
            state.entry.name: {"keys": len(state.sums.keys), "cells": len(state.sums)}
            for state in self.entries
        }

    def save(self, folder: Path) -> None:
        """Write `statistics/<number>.arrow` into `folder`, one file an entry."""
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        for i, state in enumerate(self.entries):
            facts = {"entry": state.entry.name, "types": state.types, "kind": state.kind}
            cells = state.saved_cells().replace_schema_metadata({"recmtl": json.dumps(facts)})
            path = str(folder / FOLDER / f"{i}.arrow")
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, cells.schema) as writer:
                writer.write_table(cells)

    @staticmethod
    def load(folder: Path, schema: Schema) -> "PastState":
        """Read what `save` wrote; raises `DataError` if a file is not of the schema."""
        paths = [folder / FOLDER / f"{i}.arrow" for i in range(len(schema.statistics))]
        loaded = zip(schema.statistics, paths, strict=True)
        return PastState(schema, tuple(_load(schema, entry, path) for entry, path in loaded))


def _load(schema: Schema, entry: PastStatistics, path: Path) -> EntryState:
    try:
        with pa.memory_map(str(path)) as source:
            cells = pa.ipc.open_file(source).read_all()
        cells.validate(full=True)
        facts = json.loads((cells.schema.metadata or {})[b"recmtl"])
        types, kind = tuple(facts["types"]), facts["kind"]
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as fault:
        reason = first_line(fault)
        raise DataError(f"{path}: cannot be read ({reason}); prepare the data again") from fault
    outcomes = schema.outcomes(entry)
    none = np.zeros(0, np.int64)
    names = sum_names(outcomes)
    empty = cells_table(none.view(np.uint64), none, np.zeros((0, len(names)), np.int64), names)
    wrong_types = len(types) != len(entry.keys) or set(types) - {None, "int64", "string"}
    wrong_kind = kind not in (None, "number", "instant", "local")
    nulls = sum(column.null_count for column in cells.columns)
    if not cells.schema.equals(empty.schema) or wrong_types or wrong_kind or nulls:
        raise DataError(f"{path}: is not of entry {entry.name!r}; prepare the data again")
    return EntryState(entry, outcomes, schema.roles.time, KeyedSums(cells), types, kind)


def refuse_number_names(schema: Schema, log: Log) -> None:
    """Raise a `DataError` if a column of the log has the name of a number that is derived."""
    columns = log.column_names() if schema.statistics else ()
    for derived in schema.derived[len(schema.computed) :]:
        if derived.feature.name in columns:
            fault = "is also the name of a statistic"
            remedy = "rename it, or the entry in the schema"
            raise SourceLocation(log.data).error(fault, remedy, column=derived.feature.name)


def count_past(
    log: CountedLog,
    schema: Schema,
    assign: Assign,
    *,
    earlier: PastState | None,
) -> PastState:
    """Add up a log in one stream, to the state of an earlier log if there is one.

    Raises:
        DataError: an outcome, a key or a time is not what the schema says, or rows of a period
            that the earlier state has would count twice.
    """
    fit = PastFit(schema, earlier)

    def view(batch: CountedBatch) -> tuple[CountedBatch, Parts]:
        return batch, assign(batch)

    return log.fold(fit, fit.columns, view, stage="statistics").finish()


class PastFit:
    """Adds up the cells of a log, batch by batch; memory grows with the cells only."""

    def __init__(self, schema: Schema, earlier: PastState | None = None) -> None:
        """Start with nothing, or with the state of an earlier log that is added to.

        Args:
            schema: says what to count.
            earlier: the state at the end of the days before, of an equal schema.
        """
        self.schema = schema
        states = earlier.entries if earlier is not None else [None] * len(schema.statistics)
        pairs = zip(schema.statistics, states, strict=True)
        self._entries = [_EntryFit(schema, entry, earlier=state) for entry, state in pairs]

    @property
    def columns(self) -> tuple[str, ...]:
        """What a batch must have: the columns of keys, outcomes, roles and split."""
        keys = (column for entry in self.schema.statistics for column in entry.keys)
        return tuple(dict.fromkeys([*keys, *self.schema.other_columns()]))

    def add(self, batch: CountedBatch, parts: Parts) -> None:
        """Count one batch; `parts` uint8 [rows] says which rows are train rows.

        Raises:
            DataError: an outcome, a key or a time is not what the schema says.
        """
        for entry in self._entries:
            entry.add(batch, parts)

    def merge(self, later: "PastFit") -> None:
        """Take the cells of rows that follow."""
        for entry, of_later in zip(self._entries, later._entries, strict=True):
            entry.merge(of_later)

    def finish(self) -> PastState:
        """The state at the end of what was added."""
        return PastState(self.schema, tuple(entry.finish() for entry in self._entries))


class _EntryFit:
    """Adds up the cells of one entry."""

    def __init__(
        self, schema: Schema, entry: PastStatistics, *, earlier: EntryState | None
    ) -> None:
        self.schema, self.entry = schema, entry
        self.outcomes, self.time = schema.outcomes(entry), schema.roles.time
        self.types: tuple[KeyType | None, ...] = (None,) * len(entry.keys)
        self.kind: TimeKind | None = None
        self._earlier, self._last = earlier, None
        self._tables: list[pa.Table] = []
        if earlier is not None:
            self.types, self.kind = earlier.types, earlier.kind
            self._last = earlier.sums.last_period if self.time is not None else None

    def add(self, batch: CountedBatch, parts: Parts) -> None:
        columns = dict(zip(batch.columns.schema.names, batch.columns.columns, strict=True))
        moments = self._moments(batch, parts)
        seen = key_types(columns, self.entry.keys)
        self.types = tuple(old or new for old, new in zip(self.types, seen, strict=True))
        keys = row_keys(
            columns, self.entry.keys, batch.place, types=self.types, buckets=self.entry.hash_buckets
        )
        rows = np.arange(batch.rows) if keys.rows is None else keys.rows
        codes = keys.codes
        if self.time is None or self.entry.freeze is not None:
            of_train = parts[rows] == 0
            rows, codes = rows[of_train], codes[of_train]
        sums = outcome_sums(self.schema, self.outcomes, batch.columns, batch.place)
        names = sum_names(self.outcomes)
        cells = cells_table(keys.hashes[codes], moments[rows], sums[rows], names)
        self._append(added_up([cells]))

    def merge(self, later: "_EntryFit") -> None:
        self.types = tuple(old or new for old, new in zip(self.types, later.types, strict=True))
        self.kind = self.kind or later.kind
        for cells in later._tables:
            self._append(cells)

    def _append(self, cells: pa.Table) -> None:
        self._tables.append(cells)
        pending = sum(len(table) for table in self._tables[1:])
        if pending > max(MOST_PENDING, len(self._tables[0])):
            self._tables = [added_up(self._tables)]

    def __getstate__(self) -> dict[str, Any]:
        """What travels between processes: each new cell once."""
        if len(self._tables) > 1:
            self._tables = [added_up(self._tables)]
        return {**self.__dict__, "_earlier": None}

    def _moments(self, batch: CountedBatch, parts: Parts) -> Ints:
        """The period of each row, or its fold."""
        if self.time is None:
            return _folds(self.schema, self.entry, batch, parts)
        times = batch.columns.column(self.time)
        gaps = times.is_null(nan_is_null=True).sum().as_py()
        if gaps:
            fault = f"has {gaps} missing times, whose past is unknown"
            remedy = "drop those rows, or the statistics"
            raise batch.place.error(fault, remedy, column=self.time)
        self.kind = self.kind or time_kind(times, self.time, batch.place)
        moments = periods(times, self.entry, self.time, batch.place, missing=0)
        if self._last is not None and len(moments) and moments.min() <= self._last:
            fault = f"holds rows of periods that the earlier log has, for {self.entry.name}"
            remedy = "add only whole later periods, or they would count twice"
            raise batch.place.error(fault, remedy, column=self.time)
        return moments

    def finish(self) -> EntryState:
        earlier = [] if self._earlier is None else [self._earlier.saved_cells()]
        cells = added_up([*earlier, *self._tables])
        for name in cells.column_names[2:]:
            if np.abs(cells[name].to_numpy().astype(np.float64)).sum() > LARGEST_SUM:
                column = name.rpartition(".")[0]
                fault, remedy = "adds up to more than 64 bits hold", "count it in a larger unit"
                raise SourceLocation().error(fault, remedy, column=column)
        sums = KeyedSums(cells)
        return EntryState(self.entry, self.outcomes, self.time, sums, self.types, self.kind)


def _folds(schema: Schema, entry: PastStatistics, batch: CountedBatch, parts: Parts) -> Ints:
    """The fold of each train row, and `ALL_FOLDS` for the others.

    Rows of one group share a fold, so that a row learns nothing from rows that competed with it. If
    the group is the key, or part of it, that would leave a key no other rows, and single rows are
    divided, unless the split divides groups too.
    """
    hashed = stable_hash(pa.array(np.arange(batch.first, batch.first + batch.rows)), FOLD_SEED)
    group = schema.roles.group
    if schema.split.by == "group":
        group = schema.split.column or group
    elif group in entry.keys:
        group = None
    if group is not None:
        keys = group_keys(batch.columns.column(group), group, batch.place)
        of_group = np.append(stable_hash(keys.values, FOLD_SEED), np.uint64(0))[keys.codes]
        hashed = np.where(keys.codes < 0, hashed, of_group)
    folds = (hashed % np.uint64(entry.folds)).astype(np.int64)
    return np.where(parts == 0, folds, ALL_FOLDS)
