"""One log on which every kind of feature, task and role stands at once, with its schema."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["CONFIG", "ITEM_COLUMNS", "SCHEMA", "USER", "make_items", "make_log", "write_log"]

USERS, ITEMS, DAYS = 60, 40, 6
BEGAN = datetime(2024, 5, 1, tzinfo=UTC)
USER = ["user", "home", "age", "seen", "seen_at"]
"""Columns that belong to the user of a request."""
ITEM_COLUMNS = ["category", "image", "title"]
"""Columns of the side table."""

SCHEMA = """
version: 1
name: everything
formulas: {paid: price * (1 - discount)}
tables:
  - {path: ../items.parquet, key: item}
features:
  user: {kind: categorical, min_count: 3, dim: auto}
  item: {kind: categorical, min_count: 2, dim: 6}
  home: {kind: categorical, default: nowhere}
  visited: {kind: categorical, table: home}
  category: {kind: categorical, hash_buckets: 32}
  price: {kind: numeric, log: true, clip: [0, 90], values: {min_count: 20}}
  paid: {kind: numeric, encoding: quantile}
  length_s: {kind: numeric}
  age: {kind: numeric, buckets: [25, 40, 60]}
  stock: {kind: numeric, encoding: standard, default: 0}
  seen: {kind: list, pooling: attention, target: item, times: seen_at, max_length: 6}
  genres: {kind: list, pooling: sum, max_length: 4}
  image: {kind: vector, of: item}
  title: {kind: text, hash_buckets: 500, max_length: 16}
  shown: {kind: datetime, column: time, parts: [hour, weekday], holidays: [05-01]}
  uploaded: {kind: datetime, parts: [], until: time}
  taste: {kind: cross, columns: [user, category], min_count: 5}
statistics:
  - {name: of_user, key: user, of: [click, {column: price}], windows: [all, 2d],
     values: [rate, count, last]}
  - {name: of_pair, key: [user, category], of: [click], hash_buckets: 100}
tasks:
  click: {kind: binary, label: click, group_loss: jrc}
  buy: {kind: binary, label: buy, parent: click, weight: 2}
  returned: {kind: binary, label: {column: returned, time: returned_at, window: 1d}}
  liked: {kind: binary, label: {column: stars, at_least: 4}, focal: 1}
  stars: {kind: multiclass, label: stars, head: ordinal}
  device: {kind: multiclass, label: device}
  spend: {kind: regression, label: spend, head: {kind: ziln, quantiles: [0.1, 0.9]}}
  watch: {kind: regression, label: watch_s, head: {kind: cread, bins: 8}}
  play: {kind: regression, label: watch_s, head: {kind: d2q, duration: length_s, groups: 4},
         sample_weight: worth}
  calm: {kind: binary, label: {column: moods, contains: calm}, label_smoothing: 0.02}
  best: {kind: regression, label: stars, head: {kind: rank, loss: pairwise}}
  visits: {kind: regression, label: visits, head: negative_binomial, missing: ignore}
  seconds: {kind: regression, label: watch_s, transform: log1p, rows: {column: click, equals: 1}}
roles: {group: request, time: time, row_id: row, position: slot, sample_weight: w}
split: {by: time, validation: 0.2, test: 0.2}
"""
CONFIG = """
training: {epochs: 2, batch_size: 256, rare_ids: 5}
grid:
  {interactions: [dcn, dcn_low_rank], widths: [8], depth: 1, feature_gates: [input],
   prior: [user]}
sizes: {embedding: 4, tower: [4]}
search: {epochs: 1, race: false, refine: 0, candidates: 2}
trees: {enabled: true, rounds: 10, tune: false, folds: 2}
blend: {enabled: true}
calibration: {method: platt}
evidence:
  {seeds: 2, bootstrap: 20, ablation_seeds: 0, controls: [], baselines: [lightgbm, logistic]}
workers: 1
"""


def make_items() -> pa.Table:
    """The side table: of each item its category, a vector (not of all), and a title."""
    dice = np.random.default_rng(0)
    words = ["red", "blue", "wool", "shoe", "shirt", "kids", "straße", "ブーツ"]
    images = [None if item % 9 == 8 else dice.normal(size=4).tolist() for item in range(ITEMS)]
    return pa.table(
        {
            "item": [f"item {item}" for item in range(ITEMS)],
            "category": [f"c{item % 5}" for item in range(ITEMS)],
            "image": pa.array(images, pa.list_(pa.float32())),
            "title": [
                None if item == 3 else " ".join(dice.choice(words, 3)) for item in range(ITEMS)
            ],
        }
    )


def make_log(rows: int = 1800, *, seed: int = 0, first_day: int = 0) -> pa.Table:
    """Rows of several days in the order of their times, with something missing in every column.

    A click depends on user and item, on the slot, and on what the user has seen.
    """
    dice = np.random.default_rng(seed)
    user, item = dice.integers(0, USERS, rows), dice.integers(0, ITEMS, rows)
    seconds = np.sort(dice.integers(0, DAYS * 86_400, rows))
    time = [BEGAN + timedelta(days=first_day, seconds=int(s)) for s in seconds]
    slot = dice.integers(0, 5, rows)
    stars = np.clip(1 + (item % 5 + dice.integers(-1, 2, rows)), 1, 5)
    logit = np.sin(user) + np.cos(item) - 0.3 * slot
    click = dice.random(rows) < 1 / (1 + np.exp(-logit))
    buy, returned = click & (dice.random(rows) < 0.4), dice.random(rows) < 0.2
    late = [
        t + timedelta(hours=int(h)) for t, h in zip(time, dice.integers(1, 20, rows), strict=True)
    ]
    uploaded = [t - timedelta(hours=int(i)) for t, i in zip(time, item + 1, strict=True)]
    watch = np.round(dice.exponential(30.0, rows) * (1 + click), 1)
    histories = [dice.integers(0, ITEMS, n) for n in dice.integers(0, 8, rows)]

    def gaps(share: float) -> np.ndarray:
        return dice.random(rows) < share

    def names(prefix: str, numbers: np.ndarray, share: float = 0.05) -> pa.Array:
        return pa.array([f"{prefix} {n}" for n in numbers], pa.string(), mask=gaps(share))

    return pa.table(
        {
            "row": np.arange(rows) + 10_000 * seed,
            "request": user * DAYS + seconds // 86_400,
            "time": pa.array(time, pa.timestamp("ms", "UTC")),
            "w": np.where(gaps(0.03), 0.0, dice.choice([1.0, 2.0], rows)),
            "slot": pa.array(slot, mask=gaps(0.02)),
            "user": user + 2**40,
            "item": [f"item {i}" for i in item],
            "home": names("city", user % 7),
            "visited": names("city", dice.integers(0, 9, rows)),
            "price": pa.array(np.round(dice.exponential(20.0, rows)), mask=gaps(0.05)),
            "discount": np.round(dice.random(rows) * 0.5, 2),
            "age": pa.array(18.0 + user, mask=gaps(0.05)),
            "stock": pa.array(dice.integers(0, 9, rows), mask=gaps(0.2)),
            "seen": [[f"item {i}" for i in history] for history in histories],
            "seen_at": pa.array(
                [
                    [t - timedelta(hours=len(history) - n) for n in range(len(history))]
                    for t, history in zip(time, histories, strict=True)
                ],
                pa.list_(pa.timestamp("ms", "UTC")),
            ),
            "genres": [dice.choice(list("abcd"), n).tolist() for n in dice.integers(0, 5, rows)],
            "uploaded": pa.array(uploaded, pa.timestamp("ms", "UTC"), mask=gaps(0.05)),
            "click": click.astype(np.int64),
            "buy": buy.astype(np.int64),
            "returned": returned.astype(np.int64),
            "returned_at": pa.array(late, pa.timestamp("ms", "UTC"), mask=~returned),
            "stars": stars,
            "device": dice.choice(["phone", "tablet", "web"], rows),
            "spend": np.where(buy, np.round(np.exp(dice.normal(2.0, 1.0, rows)), 2), 0.0),
            "watch_s": watch,
            "length_s": 10.0 + 5 * item,
            "worth": dice.choice([0.0, 1.0, 2.0], rows),
            "moods": [["calm", "loud"][: 1 + i % 2] if i % 3 else [] for i in item],
            "visits": pa.array(dice.poisson(1.0 + click, rows).astype(float), mask=gaps(0.05)),
        }
    )  # fmt: skip


def write_log(folder: Path, rows: int = 1800) -> Path:
    """The log in two files, its side table and its schema; the path of the schema."""
    log = make_log(rows)
    (folder / "log").mkdir(parents=True)
    for number, part in enumerate((log.slice(0, rows // 3), log.slice(rows // 3))):
        pq.write_table(part, folder / "log" / f"{number}.parquet", row_group_size=500)
    pq.write_table(make_items(), folder / "items.parquet")
    (folder / "schema.yaml").write_text(SCHEMA)
    (folder / "config.yaml").write_text(CONFIG)
    return folder / "schema.yaml"
