"""A small log with every kind of column, and a schema for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.schema import Schema, parse_schema

SCHEMA = """
version: 1
name: shop
tables:
  - {path: users.parquet, key: user_id}
features:
  user_id: {kind: categorical, min_count: 2}
  item_id: {kind: categorical}
  city: {kind: categorical, hash_buckets: 16}
  age: {kind: numeric, encoding: standard}
  price: {kind: numeric, log: true, bins: 8}
  history: {kind: list, table: item_id, max_length: 3}
  tags: {kind: list, max_length: 2, pooling: sum}
tasks:
  click: {kind: binary, label: is_click}
  buy: {kind: binary, label: is_buy, parent: click}
  watch: {kind: regression, label: watch_s, transform: log1p,
          rows: {column: is_click, equals: 1}}
  stars: {kind: multiclass, label: stars, missing: ignore}
roles: {group: request, time: ts, sample_weight: w}
split: {by: time, validation: 0.2, test: 0.2}
"""


def make_log(rows: int = 400, seed: int = 0) -> dict[str, Any]:
    """Columns of a log of `rows` impressions."""
    random = np.random.default_rng(seed)
    click = random.integers(0, 2, rows)
    lengths = random.integers(0, 6, rows)
    return {
        "user_id": random.integers(0, 30, rows),
        "item_id": [f"item {i}" for i in random.zipf(1.5, rows) % 50],
        "price": np.where(random.random(rows) < 0.1, np.nan, random.lognormal(2, 1, rows)),
        "history": [[f"item {i}" for i in random.integers(0, 60, n)] for n in lengths],
        "tags": [random.integers(0, 5, n % 4).tolist() for n in lengths],
        "is_click": click,
        "is_buy": click * random.integers(0, 2, rows),
        "watch_s": np.where(click == 1, random.exponential(10, rows), np.nan),
        "stars": [
            None if i % 7 == 0 else int(s) for i, s in enumerate(random.integers(1, 6, rows))
        ],
        "request": np.arange(rows) // 8,
        "ts": np.arange(rows) * 1000,
        "w": random.uniform(0.5, 1.5, rows),
    }


@pytest.fixture
def schema() -> Schema:
    """The schema of the small log."""
    return parse_schema(SCHEMA, source="shop.yaml")


@pytest.fixture
def columns() -> dict[str, Any]:
    """The columns of the small log, to be changed by the test."""
    return make_log()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes columns as a log with its side table, and gives the log's path."""

    def write_log(columns: dict[str, Any], *, row_group_size: int = 64) -> str:
        users = {
            "user_id": np.arange(25),
            "city": [f"city {i % 7}" for i in range(25)],
            "age": np.arange(25) + 20.0,
        }
        pq.write_table(pa.table(users), tmp_path / "users.parquet")
        path = tmp_path / "log.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
        return str(path)

    return write_log
