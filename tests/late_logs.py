"""Logs with late events whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.schema import Schema, parse_schema

DAYS, MEAN_DELAY, WINDOW = 20.0, 7.0, 14
DAY_US = 86_400_000_000
SCHEMA = """
version: 1
name: late
features: {place: {kind: categorical}, age: {kind: numeric}}
tasks: {buy: {kind: binary, label: LABEL}}
roles: {time: ts}
split: {by: column, column: part}
"""
LATE = f"{{column: bought, time: bought_at, window: {WINDOW}d}}"


def late_schema(label: str = LATE) -> Schema:
    """The schema of `late_log` with a label of this form."""
    return parse_schema(SCHEMA.replace("LABEL", label), source="late.yaml")


def late_log(rows: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Columns of a log that ends after `DAYS`, and whether each row's event comes in its window.

    Delays are exponential. Validation and test rows are old enough to be closed.
    """
    random = np.random.default_rng(seed)
    day = np.sort(random.uniform(0, DAYS, rows))
    place, age = random.integers(0, 4, rows), random.normal(size=rows)
    odds = 0.5 * (place - 1.5) + 0.7 * age - 0.5
    delay = random.exponential(MEAN_DELAY, rows)
    happens = (random.random(rows) < 1 / (1 + np.exp(-odds))) & (delay <= WINDOW)
    logged = happens & (day + delay <= DAYS)
    part = np.where(random.random(rows) < 0.3, "validation", "train")
    part = np.where((part == "validation") & (random.random(rows) < 0.5), "test", part)
    part = np.where(day + WINDOW <= DAYS, part, "train")
    start = (day * DAY_US).astype(np.int64)
    at = np.where(logged, start + (delay * DAY_US).astype(np.int64), 0)
    columns = {
        "place": place,
        "age": age,
        "bought": logged.astype(np.int64),
        "ts": pa.array(start, pa.timestamp("us")),
        "bought_at": pa.array(at, pa.timestamp("us"), mask=~logged),
        "part": part.tolist(),
    }
    return columns, happens


def write_log(columns: dict[str, Any], path: Path) -> Path:
    """Write columns as Parquet."""
    pq.write_table(pa.table(columns), path)
    return path
