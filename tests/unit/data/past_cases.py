"""Logs for the tests of statistics of the past, and a second implementation in plain loops."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.counted_log import CountedLog
from recmtl.data.reader import open_log
from recmtl.data.split import plan_split
from recmtl.data.statistics.past import PastFit, PastState
from recmtl.errors import SourceLocation
from recmtl.schema import Schema, parse_schema

Row = Mapping[str, Any]
STEP = 2.0**-32


HERE = SourceLocation()


def schema_of(entries: str, *, split: str = "{by: random}", roles: str = "{time: t}") -> Schema:
    """A schema with these entries of the statistics, one a line."""
    text = "\n".join(
        [
            "version: 1",
            "name: shop",
            "features: {price: {kind: numeric}}",
            "tasks:",
            "  click: {kind: binary, label: click}",
            "  like: {kind: binary, label: like, missing: ignore}",
            f"roles: {roles}",
            f"split: {split}",
            "statistics:",
            *(f"  - {line.strip()}" for line in entries.strip().splitlines()),
        ]
    )
    return parse_schema(text, source="shop.yaml")


def log_table(rows: int, seed: int = 0, *, users: int = 6, days: int = 9) -> pa.Table:
    """A log with whole days in `t`, in order of time."""
    dice = np.random.default_rng(seed)
    user = dice.integers(0, users, rows)
    like = np.where(dice.random(rows) < 0.2, np.nan, dice.integers(0, 2, rows))
    tags = [[f"tag-{i}" for i in dice.integers(0, 4, dice.integers(0, 4))] for _ in range(rows)]
    return pa.table(
        {
            "t": np.sort(dice.integers(0, days, rows)),
            "user": pa.array(user, mask=dice.random(rows) < 0.1),
            "item": pa.array([f"item-{i}" for i in dice.integers(0, 5, rows)]),
            "tags": pa.array([None if i % 11 == 0 else tag for i, tag in enumerate(tags)]),
            "price": dice.random(rows),
            "click": dice.integers(0, 2, rows),
            "like": pa.array(like, from_pandas=True),
            "watch": pa.array(dice.gamma(1.0, 1000.0, rows), mask=dice.random(rows) < 0.1),
        }
    )


def write(table: pa.Table, path: Path, *, parts: int = 1) -> Path:
    """The table in one file, or in several of a folder."""
    if parts == 1:
        pq.write_table(table, path)
        return path
    path.mkdir()
    bounds = np.linspace(0, table.num_rows, parts + 1).astype(int)
    for i, (first, last) in enumerate(itertools.pairwise(bounds)):
        pq.write_table(table.slice(first, last - first), path / f"{i:03}.parquet")
    return path


def counted_log(data: Path, schema: Schema) -> CountedLog:
    """The log as `prepare` reads it."""
    return CountedLog(open_log(str(data)), schema.roles.sample_weight)


def counted(data: Path, schema: Schema, earlier: PastState | None = None) -> PastState:
    """The state after one pass over a log."""
    log, fit = counted_log(data, schema), PastFit(schema, earlier)
    assign = plan_split(schema, log)
    for batch in log.batches(fit.columns):
        fit.add(batch, assign(batch))
    return fit.finish()


def training_numbers(data: Path, schema: Schema, past: PastState) -> dict[str, np.ndarray]:
    """The numbers of every row of a log, as its encoding has them."""
    log = counted_log(data, schema)
    assign = plan_split(schema, log)
    batches = [
        past.with_numbers(batch, assign(batch)).columns for batch in log.batches(schema.columns())
    ]
    table = pa.Table.from_batches(batches)
    return {name: table[name].to_numpy() for name in past.numbers}


def parts_of(data: Path, schema: Schema) -> np.ndarray:
    """The part of every row."""
    log = counted_log(data, schema)
    assign = plan_split(schema, log)
    return np.concatenate([assign(batch) for batch in log.batches(schema.columns())])


def key_elements(row: Row, keys: Sequence[str]) -> list[Any]:
    """The keys of a row: none where a part is missing, every element of a list."""
    if len(keys) == 1 and isinstance(row[keys[0]], list):
        return row[keys[0]]
    key = tuple(row[name] for name in keys)
    return [] if None in key else [key]


def outcome_of(row: Row, name: str) -> float | None:
    """The outcome of a row; numbers in steps of 2^-32."""
    value = row[name]
    if value is None or math.isnan(value):
        return None
    return math.floor(value) + round((value - math.floor(value)) / STEP) * STEP


def plain_numbers(
    rows: Sequence[Row],
    *,
    keys: Sequence[str],
    outcomes: Sequence[str],
    windows: Mapping[str, int | None],
    smoothing: float,
    sees: Callable[[Row, Row], bool],
    distance: Callable[[Row, Row], int],
) -> dict[str, list[float]]:
    """The numbers by a loop over all pairs of rows.

    Args:
        rows: the log.
        keys: columns of the key.
        outcomes: columns that are counted.
        windows: length of each, None for all time.
        smoothing: as in the schema.
        sees: whether the first row may know of the second.
        distance: periods from the second row to the first; 1 is in a window of one period.
    """
    numbers: dict[str, list[float]] = {}
    for row in rows:
        past = [other for other in rows if sees(row, other)]
        for window, length in windows.items():
            inside = [o for o in past if length is None or distance(row, o) <= length]
            elements = key_elements(row, keys)
            same = [[o for o in inside for k in key_elements(o, keys) if k == e] for e in elements]
            every = [o for o in inside for _ in key_elements(o, keys)]
            count = float(sum(map(len, same))) if elements else math.nan
            numbers.setdefault(f"count.{window}", []).append(count)
            for name in outcomes:
                rates = [_rate(one_key, every, name, smoothing) for one_key in same]
                rates = [rate for rate in rates if not math.isnan(rate)]
                mean = sum(rates) / len(rates) if rates else math.nan
                numbers.setdefault(f"{name}.{window}", []).append(mean)
    return numbers


def _rate(same: list[Row], every: list[Row], name: str, smoothing: float) -> float:
    seen = [value for o in same if (value := outcome_of(o, name)) is not None]
    of_all = [value for o in every if (value := outcome_of(o, name)) is not None]
    if not of_all:
        return math.nan
    prior = math.fsum(of_all) / len(of_all)
    weight = len(seen) + smoothing
    return (math.fsum(seen) + smoothing * prior) / weight if weight else math.nan
