"""A log in which it is known which sources of knowledge matter, and for which task.

Users come for four days and go, so that hardly any user of the last days has an embedding of his
own. Three tasks:

- `habit`: with the plant `statistics`, every user has a rate of his own, drawn from a beta
  distribution. What is known of it is his rate so far: the mean of the posterior is (positives +
  HABIT_PRIOR) / (rows + HABIT_ROWS), a smoothed rate of his rows of earlier days.
- `match`: with the plant `histories`, 45 % positive if an item of the candidate's category is among
  the user's last ten, and 10 % otherwise.
- `plain`: follows price, hour and category, as the other two do where their plant is absent.

All columns are there whatever is planted: the past and the histories of users then say nothing.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.atomic import new_file, write_json
from recmtl.errors import DataError, did_you_mean
from recmtl.simulate.log import DAY_MS, FIRST_MS, truth_path
from recmtl.simulate.shop import Floats, Ints

__all__ = ["PLANTS", "SourceTruth", "simulate_sources"]

PLANTS = {"statistics": "habit", "histories": "match"}
"""Of each plant the task that it decides."""
TASKS = ("habit", "match", "plain")
DAYS, STAY = 14, 4
"""Days of the log, and days for which a user comes."""
VISITS = 16
EVENTS = 10
ITEMS, CATEGORIES = 300, 30
HABIT_PRIOR, HABIT_ROWS = 0.4, 1.5
MATCH_RATES = 0.10, 0.45
WEIGHTS = {"habit": (0.9, -0.4, 0.5), "match": (-0.5, 0.8, 0.6), "plain": (0.7, 0.7, 0.7)}
"""Of price, the wave of the hours and the category."""


@dataclass(frozen=True)
class SourceTruth:
    """What was planted in a log, measured on the rows written.

    Attributes:
        rows: rows of the log.
        seed: the seed that drew it.
        sources: of each planted source the tasks that need it; no other source matters.
        related: pairs of tasks that depend on the same interest: none.
        rates: share of positive rows of each task.
        best: AUC of each task's true probabilities, as far as they can be known: of `habit` those
            that follow from the user's earlier days.
    """

    rows: int
    seed: int
    sources: dict[str, list[str]]
    rates: dict[str, float]
    best: dict[str, float]
    related: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class _Visits:
    """Rows in order of time: user, item and time of each, and the user's last items before it."""

    user: Ints
    item: Ints
    time_ms: Ints
    events: Ints  # [rows, EVENTS], oldest first


def simulate_sources(
    path: str | Path,
    rows: int = 40_000,
    *,
    seed: int = 0,
    plants: Collection[str] = tuple(PLANTS),
) -> SourceTruth:
    """Write a log, and beside it what was planted in it (`truth_path`).

    Its schema is `datasets/simulated/sources.yaml`. Equal arguments give equal rows.

    Args:
        path: the Parquet file to write.
        rows: number of rows; 20,000 to 60,000 are enough to find what is planted.
        seed: fixes the rows.
        plants: which sources matter, of `statistics` and `histories`; with none, nothing of both.

    Raises:
        DataError: there are no rows, or a plant is unknown.
    """
    if rows < 1:
        raise DataError(f"simulate_sources: rows must be at least 1, not {rows}")
    for plant in plants:
        if plant not in PLANTS:
            hint = did_you_mean(plant, PLANTS) or f"; there are {', '.join(PLANTS)}"
            raise DataError(f"simulate_sources: there is no plant {plant!r}{hint}")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, 5])
    visits = _draw_visits(random, rows)
    columns, chances = _columns(visits, random, plants)
    truth = SourceTruth(
        rows,
        seed,
        {plant: [PLANTS[plant]] for plant in PLANTS if plant in plants},
        {task: float(columns[task].mean()) for task in TASKS},
        {task: _auc(chances[task], columns[task]) for task in TASKS},
    )
    with new_file(target) as log_file, new_file(truth_path(target)) as truth_file:
        write_json(truth_file, asdict(truth))
        pq.write_table(_table(visits, columns), log_file, row_group_size=10_000)
    return truth


def _draw_visits(random: np.random.Generator, rows: int) -> _Visits:
    """Draw users until their visits within the days of the log are enough, and keep `rows`."""
    inside = DAYS / (DAYS + STAY - 1)
    users = int(np.ceil(rows / (VISITS * inside) * 1.2)) + 20
    arrival = random.integers(1 - STAY, DAYS, users)
    when = arrival[:, None] + np.sort(random.random((users, VISITS)) * STAY, axis=1)
    events, item = _draw_items(random, users)
    kept = np.flatnonzero((when >= 0) & (when < DAYS))
    kept = random.permutation(kept)[:rows]
    kept = kept[np.argsort(when.ravel()[kept], kind="stable")]
    time_ms = FIRST_MS + (when.ravel()[kept] * DAY_MS).astype(np.int64)
    return _Visits(kept // VISITS, item.ravel()[kept], time_ms, events.reshape(-1, EVENTS)[kept])


def _draw_items(random: np.random.Generator, users: int) -> tuple[Ints, Ints]:
    """The last items before each visit `[users, VISITS, EVENTS]`, and its item `[users, VISITS]`.

    Half of the items are drawn from a category among the last ones.
    """
    last = random.integers(0, ITEMS, (users, EVENTS))
    events = np.empty((users, VISITS, EVENTS), np.int64)
    items = np.empty((users, VISITS), np.int64)
    for visit in range(VISITS):
        events[:, visit] = last
        seen_category = last[np.arange(users), random.integers(0, EVENTS, users)] % CATEGORIES
        alike = seen_category + CATEGORIES * random.integers(0, ITEMS // CATEGORIES, users)
        other = random.integers(0, ITEMS, users)
        items[:, visit] = np.where(random.random(users) < 0.5, alike, other)
        last = np.column_stack([last[:, 1:], items[:, visit]])
    return events, items


def _columns(
    visits: _Visits, random: np.random.Generator, plants: Collection[str]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Price, hour and labels of each row, and of each task the chances that can be known."""
    rows = len(visits.item)
    price, liking = random.lognormal(3.0, 0.5, ITEMS), random.normal(0.0, 1.0, (3, CATEGORIES))
    hour = visits.time_ms % DAY_MS / (DAY_MS / 24)
    columns: dict[str, Floats] = {"price": np.round(price[visits.item], 2), "hour": hour.round(2)}
    worth = (np.log(columns["price"]) - 3.0) / 0.5
    wave = np.sqrt(2.0) * np.cos(2.0 * np.pi * hour / 24.0)
    chances: dict[str, Floats] = {}
    for number, task in enumerate(TASKS):
        terms = np.stack([worth, wave, liking[number][visits.item % CATEGORIES]])
        chances[task] = 1.0 / (1.0 + np.exp(1.2 - np.array(WEIGHTS[task]) @ terms))
    if "histories" in plants:
        among = visits.events % CATEGORIES == (visits.item % CATEGORIES)[:, None]
        chances["match"] = np.where(among.any(1), MATCH_RATES[1], MATCH_RATES[0])
    drawn = dict(chances)
    if "statistics" in plants:
        users = int(visits.user.max()) + 1
        drawn["habit"] = random.beta(HABIT_PRIOR, HABIT_ROWS - HABIT_PRIOR, users)[visits.user]
    for task in TASKS:
        columns[task] = (random.random(rows) < drawn[task]).astype(np.float64)
    if "statistics" in plants:
        chances["habit"] = _rate_so_far(visits, columns["habit"])
    return columns, chances


def _rate_so_far(visits: _Visits, label: Floats) -> Floats:
    """The posterior mean of each row's user, given his rows of earlier days."""
    day = (visits.time_ms - FIRST_MS) // DAY_MS
    users = int(visits.user.max()) + 1
    sums = np.zeros((2, users, DAYS + 1))
    np.add.at(sums[0], (visits.user, day + 1), 1.0)
    np.add.at(sums[1], (visits.user, day + 1), label)
    count, positive = sums.cumsum(2)[:, visits.user, day]
    rate: Floats = (positive + HABIT_PRIOR) / (count + HABIT_ROWS)
    return rate


def _auc(score: Floats, label: Floats) -> float:
    """Share of the pairs of a positive and a negative row in which the positive scores higher."""
    _, value = np.unique(score, return_inverse=True)
    positive = np.bincount(value, label)
    negative = np.bincount(value) - positive
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum() / pairs) if pairs else 0.5


def _table(visits: _Visits, columns: dict[str, Floats]) -> pa.Table:
    events = pa.array(visits.events.ravel())
    offsets = pa.array(np.arange(0, visits.events.size + 1, EVENTS, dtype=np.int32))
    categories = pa.array(visits.events.ravel() % CATEGORIES)
    labels = {task: pa.array(columns[task].astype(np.int8)) for task in TASKS}
    return pa.table(
        {
            "row_id": np.arange(len(visits.item)),
            "time": pa.array(visits.time_ms, pa.timestamp("ms")),
            "user_id": visits.user,
            "item_id": visits.item,
            "category": visits.item % CATEGORIES,
            "price": columns["price"],
            "hour": columns["hour"],
            "seen": pa.ListArray.from_arrays(offsets, events),
            "seen_categories": pa.ListArray.from_arrays(offsets, categories),
            **labels,
        }
    )
